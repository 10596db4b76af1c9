//! `deploy/cluster.example.toml` lists every setting of every program with its default, and nothing else.

use std::fmt::Write;
use std::path::Path;

use service::{SettingDoc, Settings};

/// What each program reads, in the order the file shows them.
fn all() -> Vec<(&'static str, Vec<SettingDoc>)> {
    vec![
        ("controller", Settings::reference("controller", controller::Config::read)),
        ("agent", Settings::reference("agent", agent::Config::read)),
        ("builder", Settings::reference("builder", builder::Config::read)),
        ("registry-proxy", Settings::reference("registry-proxy", registry_proxy::Config::read)),
        ("router", Settings::reference("router", router::Config::read)),
        ("logger", Settings::reference("logger", logger::Config::read)),
    ]
}

fn example() -> String {
    let mut text = String::from(
        "# Every setting with its default. A line without a value has none, or one that depends on the machine.\n\
         # `clusterctl up` writes such a file; `cargo xtask bless` writes this one.\n",
    );
    let mut shared: Vec<SettingDoc> = Vec::new();
    for (_, settings) in all() {
        for setting in settings.into_iter().filter(|setting| setting.table == "cluster") {
            if !shared.iter().any(|known| known.key == setting.key) {
                shared.push(setting);
            }
        }
    }
    shared.sort_by_key(|setting| setting.key);
    table(&mut text, "cluster", shared.iter());
    for (program, settings) in &all() {
        table(&mut text, program, settings.iter().filter(|setting| setting.table == *program));
    }
    text
}

fn table<'a>(text: &mut String, name: &str, settings: impl Iterator<Item = &'a SettingDoc>) {
    writeln!(text, "\n[{name}]").expect("text takes text");
    for setting in settings {
        writeln!(text, "# {} ({})", setting.doc, setting.variable()).expect("text takes text");
        let line = match &setting.default {
            Some(default) => format!("{} = {default:?}", setting.key),
            None => format!("# {} =", setting.key),
        };
        writeln!(text, "{line}").expect("text takes text");
    }
}

#[test]
fn the_example_lists_every_setting_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cluster.example.toml");
    let example = example();
    if std::env::var_os("TRIREME_BLESS").is_some() {
        std::fs::write(&path, &example).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, example, "run `cargo xtask bless` and look at what changed");
}
