//! The command line of a program: what little of it there is.

use std::{ffi::OsString, path::PathBuf};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// Run, with the settings file that was named.
    Run { config: Option<PathBuf> },
    /// Print the version.
    Version,
    /// Print how to use the program.
    Help,
}

/// Reads the arguments after the program's name; the error is a sentence for the user.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    let mut arguments = arguments.into_iter();
    let mut config = None;
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        match text.as_str() {
            "--version" | "-V" => return Ok(Arguments::Version),
            "--help" | "-h" => return Ok(Arguments::Help),
            "--config" => {
                config = Some(PathBuf::from(arguments.next().ok_or("`--config` needs a path")?))
            }
            other => match other.strip_prefix("--config=") {
                Some(path) if !path.is_empty() => config = Some(PathBuf::from(path)),
                Some(_) => return Err("`--config` needs a path".to_owned()),
                None => return Err(format!("`{other}` is not an argument; try `--help`")),
            },
        }
    }
    Ok(Arguments::Run { config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Arguments, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn the_settings_file_is_named_in_both_spellings() {
        let run = Ok(Arguments::Run { config: Some("/t.toml".into()) });
        assert_eq!(
            (parsed(&["--config", "/t.toml"]), parsed(&["--config=/t.toml"])),
            (run.clone(), run)
        );
        assert_eq!(parsed(&[]), Ok(Arguments::Run { config: None }));
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [&["--config"][..], &["--config="], &["--confg=/x"], &["run"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            (parsed(&["--version"]), parsed(&["-h"])),
            (Ok(Arguments::Version), Ok(Arguments::Help))
        );
    }
}
