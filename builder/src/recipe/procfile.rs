//! The Procfile: one process type and its command a line.

use std::collections::BTreeMap;

use model::{name::ProcessType, release::Command};
use proto::problem::{Code, Problem};

use super::command;

/// More types than this are a mistake.
const MAX_TYPES: usize = 50;
/// A longer command is a mistake.
const MAX_COMMAND: usize = 16 << 10;

/// What a Procfile says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Procfile {
    /// Types and commands; at least one.
    pub processes: BTreeMap<ProcessType, Option<Command>>,
}

/// What is wrong with a Procfile, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcfileError {
    /// The line is no `type: command`.
    #[error("line {0} of the Procfile is not `type: command`")]
    Shape(usize),
    /// The name is not a process type.
    #[error("line {line} of the Procfile: `{name}` is not a process type ({rule})")]
    Type {
        /// The line.
        line: usize,
        /// The name.
        name: String,
        /// What names look like.
        rule: &'static str,
    },
    /// There is nothing to run.
    #[error("line {line} of the Procfile: `{name}` has no command")]
    Empty {
        /// The line.
        line: usize,
        /// The type.
        name: String,
    },
    /// The command cannot be run as it is.
    #[error("line {0} of the Procfile: the command is longer than 16 KiB or holds a NUL character")]
    Command(usize),
    /// The type is there already.
    #[error("line {line} of the Procfile: `{name}` is there already, in line {first}")]
    Twice {
        /// The line.
        line: usize,
        /// The type.
        name: String,
        /// Where it was first.
        first: usize,
    },
    /// Too many types.
    #[error("the Procfile has more than {MAX_TYPES} process types")]
    TooMany,
    /// No type at all.
    #[error("the Procfile names no process type")]
    Nothing,
}

impl From<ProcfileError> for Problem {
    fn from(error: ProcfileError) -> Problem {
        Problem::new(Code::Invalid, error.to_string())
            .hint("Each line is `type: command`, such as `web: python server.py`; lines that start with `#` are comments")
    }
}

impl Procfile {
    /// Reads a Procfile; the first wrong line is the error.
    pub fn parse(text: &str) -> Result<Procfile, ProcfileError> {
        let mut processes = BTreeMap::new();
        let mut lines: BTreeMap<ProcessType, usize> = BTreeMap::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let (line, number) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (process, command) = parse_line(line, number)?;
            if let Some(first) = lines.insert(process.clone(), number) {
                let name = process.to_string();
                return Err(ProcfileError::Twice { line: number, name, first });
            }
            processes.insert(process, Some(command));
            if processes.len() > MAX_TYPES {
                return Err(ProcfileError::TooMany);
            }
        }
        if processes.is_empty() { Err(ProcfileError::Nothing) } else { Ok(Procfile { processes }) }
    }

    /// Whether it says what answers HTTP.
    pub fn has_web(&self) -> bool {
        self.processes.contains_key(&ProcessType::web())
    }
}

fn parse_line(line: &str, number: usize) -> Result<(ProcessType, Command), ProcfileError> {
    let (name, text) = line.split_once(':').ok_or(ProcfileError::Shape(number))?;
    let (name, text) = (name.trim(), text.trim());
    let process: ProcessType = name.parse().map_err(|error: model::name::NameError| {
        let name = name.chars().take(40).collect();
        ProcfileError::Type { line: number, name, rule: error.rule() }
    })?;
    if text.is_empty() {
        return Err(ProcfileError::Empty { line: number, name: process.to_string() });
    }
    if text.len() > MAX_COMMAND || text.contains('\0') {
        return Err(ProcfileError::Command(number));
    }
    Ok((process, command::from_line(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_and_commands_are_read_whatever_the_line_ends() {
        let procfile =
            Procfile::parse("\u{feff}# app\r\nweb: serve a:b\r\n\nrelease :migrate\n").unwrap();
        let shown: Vec<_> = procfile
            .processes
            .iter()
            .map(|(process, command)| (process.as_str(), command.as_ref().unwrap().0[2].as_str()))
            .collect();
        assert_eq!(shown, [("release", "exec migrate"), ("web", "exec serve a:b")]);
        assert!(procfile.has_web());
    }

    #[test]
    fn the_wrong_line_is_named() {
        for (text, message) in [
            ("web: a\nnonsense\n", "line 2 of the Procfile is not `type: command`"),
            ("\nwe b: a", "line 2 of the Procfile: `we b` is not a process type"),
            ("web:   ", "line 1 of the Procfile: `web` has no command"),
            ("web: a\n\nweb: b", "line 3 of the Procfile: `web` is there already, in line 1"),
            ("web: a\0b", "line 1 of the Procfile: the command"),
            ("# nothing\n", "the Procfile names no process type"),
        ] {
            let error = Procfile::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let many: String = (0..=MAX_TYPES).map(|n| format!("t{n}: x\n")).collect();
        assert_eq!(Procfile::parse(&many), Err(ProcfileError::TooMany));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*|([a-z]{0,3}[: =\n#'\"&]{0,4}){0,20}") {
            let _ = Procfile::parse(&text);
        }
    }
}
