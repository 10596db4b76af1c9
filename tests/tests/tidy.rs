//! House rules that a machine can check: headers, layers, purity of plans, documents that are true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("folders can be listed") {
        let path = entry.expect("entries can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn all_rust_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    rust_files(&root(), &mut found);
    assert!(found.len() > 50, "the walk finds the project: {}", found.len());
    let named = found.into_iter().map(|path| {
        let name = path.strip_prefix(root()).expect("files lie in the root").display().to_string();
        (name, std::fs::read_to_string(path).expect("files can be read"))
    });
    named.collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    let bad: Vec<String> = all_rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(bad, Vec::<String>::new());
}

#[test]
fn plans_import_only_the_model() {
    for (name, text) in all_rust_files() {
        let is_plan = name == "controller/src/plan.rs" || name.starts_with("controller/src/plan/");
        if !is_plan || name.ends_with("tests.rs") {
            continue;
        }
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in ["tokio", "store::", "proto::", "service::", "std::time", "rand::", "tracing"] {
            assert!(!production.contains(word), "{name} mentions `{word}`");
        }
    }
}

#[test]
fn arrows_point_one_way() {
    let allowed: [(&str, &[&str]); 11] = [
        ("model", &[]),
        ("store", &[]),
        ("service", &[]),
        ("proto", &["model"]),
        ("link", &["model", "proto", "service"]),
        ("agent", &["model", "proto", "service", "link"]),
        ("builder", &["model", "proto", "service", "link"]),
        ("registry-proxy", &["model", "proto", "service", "link"]),
        ("router", &["model", "proto", "service", "link"]),
        ("logger", &["model", "proto", "service", "link"]),
        ("cli", &["model", "proto", "service"]),
    ];
    let ours: BTreeSet<&str> =
        allowed.iter().map(|(name, _)| *name).chain(["controller", "tests"]).collect();
    for (name, may) in allowed {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml"))
            .expect("crates have manifests");
        let production = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in production.lines() {
            let Some((dependency, _)) = line.split_once(".workspace") else { continue };
            let crosses = ours.contains(dependency) && !may.contains(&dependency);
            assert!(!crosses, "{name} depends on {dependency}");
        }
    }
}

#[test]
fn no_file_hides_a_second_noun() {
    for (name, text) in all_rust_files() {
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = production.lines().count();
        // A list of one kind of thing, and tests, may be long.
        let may_be_long = name == "proto/src/api.rs" || name.contains("tests");
        assert!(lines <= 500 || may_be_long, "{name} has {lines} lines without its tests");
    }
}

#[test]
fn nothing_is_left_undone() {
    for (name, text) in all_rust_files() {
        if name == "tests/tests/tidy.rs" {
            continue;
        }
        for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "TODO", "#[ignore]"] {
            assert!(!text.contains(word), "{name} has `{word}`");
        }
    }
}

/// The tests that a line of a document names, between backticks. What looks like a test's name has to be one.
fn tests_named(line: &str, code: &str) -> usize {
    let is_test = |name: &&str| code.contains(&format!("fn {name}("));
    let looks_like_one = |name: &&str| {
        name.contains('_') && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    let names: Vec<&str> = line.split('`').skip(1).step_by(2).filter(looks_like_one).collect();
    for name in &names {
        assert!(is_test(name), "`{name}` is no test: {line}");
    }
    names.len()
}

fn all_code() -> String {
    all_rust_files().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn every_invariant_names_a_test_that_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let (_, invariants) = text.split_once("## Invariants").expect("it has invariants");
    let invariants = invariants.split("\n## ").next().unwrap_or_default();
    let code = all_code();
    let numbered =
        invariants.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    for line in numbered {
        assert!(tests_named(line, &code) > 0, "no test holds: {line}");
    }
}

#[test]
fn every_fault_with_a_name_has_a_test_or_is_open() {
    let path = root().join("docs/scenarios.md");
    let text = std::fs::read_to_string(path).expect("it is there");
    let code = all_code();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 32);
    for (row, number) in rows.iter().zip(1..) {
        assert_eq!(row[1], number.to_string());
        let is_shown = tests_named(row[4], &code) > 0;
        assert!(is_shown != row[4].starts_with("open:"), "{row:?}");
    }
}
