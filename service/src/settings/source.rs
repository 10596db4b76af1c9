//! Where settings come from: a parsed TOML file and the environment, read once.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{upper, variable_prefix};

/// The file read when neither `--config` nor `$TRIREME_CONFIG` names one; it may be absent.
pub const DEFAULT_PATH: &str = "/etc/trireme/trireme.toml";

/// A file's tables and the `TRIREME_` variables.
#[derive(Debug, Default)]
pub struct Source {
    path: PathBuf,
    tables: Table,
    variables: BTreeMap<String, String>,
    problems: Vec<String>,
}

/// A value as written, and where.
pub(super) struct Found {
    pub text: String,
    pub place: String,
}

impl Source {
    /// From `given` (`--config`), else `$TRIREME_CONFIG`, else [`DEFAULT_PATH`], and the process environment.
    /// A file that was named must exist.
    pub fn load(given: Option<PathBuf>) -> Source {
        let named = given.or_else(|| std::env::var_os("TRIREME_CONFIG").map(PathBuf::from));
        let is_named = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        match std::fs::read_to_string(&path) {
            Ok(text) => Source::from_text(&path, &text, variables),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => {
                Source::from_text(&path, "", variables)
            }
            Err(error) => {
                let mut source = Source::from_text(&path, "", variables);
                source.problems.push(format!("file `{}` cannot be read: {error}", path.display()));
                source
            }
        }
    }

    /// From a file's text and an environment, for tests and tools.
    pub fn from_text(
        path: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Source {
        let mut source = Source { path: path.to_owned(), ..Source::default() };
        source.variables =
            variables.into_iter().filter(|(name, _)| name.starts_with("TRIREME_")).collect();
        match text.parse() {
            Ok(tables) => source.tables = tables,
            Err(error) => {
                source.problems.push(format!("file `{}` is not TOML: {error}", path.display()))
            }
        }
        source
    }

    /// The value of a key: the environment's, else the file's.
    pub(super) fn value(&mut self, table: &str, key: &str) -> Option<Found> {
        let variable = format!("{}{}", variable_prefix(table), upper(key));
        if let Some(text) = self.variables.get(&variable) {
            return Some(Found { text: text.clone(), place: format!("variable {variable}") });
        }
        let place = format!("[{table}] of `{}`", self.path.display());
        let text = match text_of(self.tables.get(table)?.get(key)?) {
            Some(text) => text,
            None => {
                let problem = format!("`{key}` in {place}: a table is not a value");
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                return None;
            }
        };
        Some(Found { text, place })
    }

    /// The keys a table of the file has.
    pub(super) fn keys(&self, table: &str) -> Vec<String> {
        let table = self.tables.get(table).and_then(Value::as_table);
        table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    /// The variables that start with `prefix`.
    pub(super) fn variables(&self, prefix: &str) -> Vec<String> {
        self.variables.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// What was wrong with the file itself.
    pub(super) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }
}

/// A value as it would stand in the environment; arrays become comma-separated.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            Some(value.to_string())
        }
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text_of).collect();
            Some(texts?.join(","))
        }
        Value::Table(_) => None,
    }
}
