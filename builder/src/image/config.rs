//! An app's configuration as a file of shell exports, which a build step reads and no layer keeps.

use std::collections::BTreeMap;

/// Variables that would break the build itself.
const KEPT_OUT: [&str; 8] = ["PATH", "HOME", "PORT", "PWD", "SHELL", "USER", "IFS", "LD_PRELOAD"];
/// BuildKit refuses larger secrets.
const MAX_BYTES: usize = 500 << 10;

/// The file's text; none if it is too large to be given to a build.
pub fn exports(config: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let usable = config.iter().filter(|(key, value)| {
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        plain && !KEPT_OUT.contains(&key.as_str()) && !value.contains('\0')
    });
    let text: String = usable
        // Within single quotes only the single quote itself means anything.
        .map(|(key, value)| format!("export {key}='{}'\n", value.replace('\'', r"'\''")))
        .collect();
    (text.len() <= MAX_BYTES).then(|| text.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What a shell makes of the file.
    fn read_back(config: &BTreeMap<String, String>, key: &str) -> String {
        let text = String::from_utf8(exports(config).unwrap()).unwrap();
        let script = format!("{text}printf %s \"${key}\"");
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_would_break_a_build_is_left_out_and_too_much_is_not_given() {
        let config = [("PATH", "/x"), ("A", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(exports(&config).unwrap(), b"export A='1'\n");
        assert_eq!(exports(&[("A".to_owned(), "x".repeat(MAX_BYTES))].into()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_shell_reads_every_value_as_it_is(value in "[a'\"$`\\\\\n;|& é=(){}]{0,40}") {
            let config = [("KEY".to_owned(), value.clone())].into();
            prop_assert_eq!(read_back(&config, "KEY"), value);
        }
    }
}
