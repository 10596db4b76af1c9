//! Settings from texts and environments.

use std::path::Path;

use super::*;
use crate::{List, Size, Span};

const FILE: &str = r#"
[cluster]
node = "n1"
unrelated = 1

[router]
listen = "10.0.0.1:80"
buffer = "64K"
threads = 4
hosts = ["a", "b"]
"#;

fn settings(text: &str, variables: &[(&str, &str)]) -> Settings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::new("router", Source::from_text(Path::new("test.toml"), text, variables))
}

#[derive(Debug, PartialEq)]
struct Config {
    listen: String,
    threads: u8,
    buffer: Size,
    timeout: Span,
    hosts: List<String>,
    node: String,
    cache: Option<String>,
}

fn read(settings: &mut Settings) -> Config {
    Config {
        listen: settings.get("listen", "127.0.0.1:80", "Where to listen."),
        threads: settings.get("threads", "2", "Threads."),
        buffer: settings.get("buffer", "1M", "Buffer."),
        timeout: settings.get("timeout", "30s", "Timeout."),
        hosts: settings.get("hosts", "", "Hosts."),
        node: settings.required("cluster.node", "node-1", "This node's name."),
        cache: settings.optional("cache", "The cache's folder."),
    }
}

fn outcome(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let mut settings = settings(text, variables);
    let config = read(&mut settings);
    settings.finish(config)
}

#[test]
fn values_come_from_the_file_and_defaults_from_the_code() {
    let config = outcome(FILE, &[]).unwrap();
    assert_eq!(
        (config.listen.as_str(), config.threads, config.buffer),
        ("10.0.0.1:80", 4, Size(65_536))
    );
    assert_eq!(config.timeout.to_string(), "30s");
    assert_eq!((config.hosts.0.len(), config.node.as_str(), config.cache), (2, "n1", None));
}

#[test]
fn the_environment_wins_over_the_file() {
    let variables = [
        ("TRIREME_ROUTER_LISTEN", "[::]:80"),
        ("TRIREME_CLUSTER_NODE", "n2"),
        ("TRIREME_ROUTER_CACHE", "/c"),
    ];
    let config = outcome(FILE, &variables).unwrap();
    assert_eq!((config.listen.as_str(), config.node.as_str()), ("[::]:80", "n2"));
    assert_eq!(config.cache.as_deref(), Some("/c"));
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "[router]\nthreads = 300\nbuffer = 'big'\nlisen = 'x'\ncache = { a = 1 }\n";
    let problems =
        outcome(text, &[("TRIREME_ROUTER_TIMEOUT", "soon"), ("TRIREME_ROUTER_HOST", "h")])
            .unwrap_err();
    let expected = [
        "`cache` in [router] of `test.toml`: a table is not a value",
        "`threads` in [router] of `test.toml`: number too large to fit in target type",
        "`buffer` in [router] of `test.toml`: `big` is not a size such as `64K`, `512M` or `1GiB`",
        "`timeout` in variable TRIREME_ROUTER_TIMEOUT: `soon` is not a span of time such as `500ms`, `30s`, `5m` or `1h30m`",
        "`node` in [cluster] is missing: This node's name. (for example `node-1`; or set TRIREME_CLUSTER_NODE)",
        "`lisen` in [router] is not a setting; did you mean `listen`?",
        "variable `TRIREME_ROUTER_HOST` is not a setting; did you mean `TRIREME_ROUTER_HOSTS`?",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_file_that_is_not_toml_is_one_problem_among_others() {
    let problems = outcome("[router\n", &[]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("file `test.toml` is not TOML"), "{problems:?}");
    assert!(problems[1].starts_with("`node` in [cluster] is missing"), "{problems:?}");
}

#[test]
fn a_named_file_must_exist() {
    let settings = Settings::new("router", Source::load(Some("/nowhere/t.toml".into())));
    let problems = settings.finish(()).unwrap_err();
    assert!(problems[0].starts_with("file `/nowhere/t.toml` cannot be read"), "{problems:?}");
}

#[test]
fn the_reference_lists_every_setting_in_reading_order() {
    let reference = Settings::reference("router", read);
    let keys: Vec<String> =
        reference.iter().map(|doc| format!("{}.{}", doc.table, doc.key)).collect();
    let expected = [
        "router.worker_threads",
        "router.listen",
        "router.threads",
        "router.buffer",
        "router.timeout",
        "router.hosts",
        "cluster.node",
        "router.cache",
    ];
    assert_eq!(keys, expected);
    assert_eq!(reference[6].variable(), "TRIREME_CLUSTER_NODE");
    assert!(reference[6].required && !reference[7].required && reference[7].default.is_none());
}

#[test]
fn a_program_with_a_dash_has_variables_with_underscores() {
    let doc = SettingDoc {
        table: "registry-proxy",
        key: "listen",
        default: None,
        doc: "",
        required: false,
    };
    assert_eq!(doc.variable(), "TRIREME_REGISTRY_PROXY_LISTEN");
}
