//! The host's own Debian 12 archives, in both of APT's notations, without third parties.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

const SUITES: [&str; 3] = ["bookworm", "bookworm-updates", "bookworm-security"];

/// Debian archives, as two files that APT reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Lines for a `.list` file.
    pub lines: String,
    /// Paragraphs for a `.sources` file.
    pub paragraphs: String,
}

/// Reads what the host installs Debian packages from.
pub fn read() -> Result<Sources> {
    let mut sources = Sources::default();
    for file in files() {
        let text = fs::read_to_string(&file)?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.lines.extend(
                text.lines().filter(|line| is_debian_line(line)).map(|line| format!("{line}\n")),
            ),
            Some("sources") => sources.paragraphs.extend(
                paragraphs(&text).filter(|text| is_debian_paragraph(text)).map(|text| text + "\n"),
            ),
            _ => {}
        }
    }
    if sources == Sources::default() {
        bail!(
            "`/etc/apt` names no Debian 12 (bookworm) archive. Add one to `/etc/apt/sources.list.d`, see `man sources.list`"
        );
    }
    Ok(sources)
}

fn files() -> Vec<PathBuf> {
    let folder = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<PathBuf> = folder
        .chain([Path::new("/etc/apt/sources.list").to_owned()])
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    files
}

/// `deb [options] address suite component...`
fn is_debian_line(line: &str) -> bool {
    let Some(rest) = line.trim().strip_prefix("deb ") else { return false };
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or(("", "")),
        None => ("", rest),
    };
    let key = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    let fields: Vec<&str> = rest.split_whitespace().collect();
    match fields.as_slice() {
        [address, suite, components @ ..] => {
            !address.starts_with("cdrom:")
                && SUITES.contains(suite)
                && components.contains(&"main")
                && is_debian_key(key)
        }
        _ => false,
    }
}

/// Paragraphs of a file, without comments.
fn paragraphs(text: &str) -> impl Iterator<Item = String> {
    let kept: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    let paragraphs: Vec<String> =
        kept.split("\n\n").map(|text| format!("{}\n", text.trim_matches('\n'))).collect();
    paragraphs.into_iter().filter(|text| !text.trim().is_empty())
}

fn is_debian_paragraph(text: &str) -> bool {
    let words =
        |key: &str| field(text, key).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    words("Types").contains(&"deb")
        && words("Suites").iter().any(|suite| SUITES.contains(suite))
        && words("Components").contains(&"main")
        && !matches!(field(text, "Enabled").map(str::trim), Some("no" | "false" | "0"))
        && is_debian_key(field(text, "Signed-By"))
}

/// Third parties also call their suites `bookworm`; they sign with keys of their own.
fn is_debian_key(key: Option<&str>) -> bool {
    key.is_none_or(|key| key.contains("debian"))
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(key).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_lines_are_kept_and_others_are_not() {
        let table = [
            ("deb http://mirror.example/debian bookworm main", true),
            (
                "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm-updates main contrib",
                true,
            ),
            ("# deb http://mirror.example/debian bookworm main", false),
            ("deb-src http://mirror.example/debian bookworm main", false),
            ("deb cdrom:[Debian 12]/ bookworm main", false),
            ("deb http://mirror.example/debian trixie main", false),
            ("deb https://third.example/linux bookworm stable", false),
            (
                "deb [signed-by=/usr/share/keyrings/third.gpg] https://third.example/node bookworm main",
                false,
            ),
            ("", false),
        ];
        for (line, wanted) in table {
            assert_eq!(is_debian_line(line), wanted, "{line}");
        }
    }

    #[test]
    fn debian_paragraphs_are_kept_without_comments() {
        let text = "# made by hand\nTypes: deb\n# old mirror\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\n\nTypes: deb\nURIs: https://third.example\nSuites: nodistro\nComponents: main\n\n\
                    Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n";
        let kept: Vec<String> = paragraphs(text).filter(|text| is_debian_paragraph(text)).collect();
        assert_eq!(
            kept,
            [
                "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
            ]
        );
    }
}
