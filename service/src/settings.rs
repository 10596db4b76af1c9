//! A program's settings: from one TOML file and the environment, all problems found before any is told.
//!
//! The file has a table per program and `[cluster]` for what all share. The environment wins over the file:
//! `TRIREME_<PROGRAM>_<KEY>` and `TRIREME_CLUSTER_<KEY>`. Every default stands in the code that asks for it.

mod nearest;
mod source;

pub use source::{DEFAULT_PATH, Source};

use std::{fmt::Display, str::FromStr};

/// The table all programs share; keys `cluster.<key>` are in it.
const SHARED: &str = "cluster";

/// Reads settings one by one and remembers everything that is wrong. A value that cannot be used is replaced
/// by its default, so that reading goes on; the program does not start on it.
#[derive(Debug)]
pub struct Settings {
    program: &'static str,
    source: Source,
    asked: Vec<SettingDoc>,
    problems: Vec<String>,
}

/// One setting, for the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDoc {
    /// The table: the program's name or `cluster`.
    pub table: &'static str,
    /// The key in the table.
    pub key: &'static str,
    /// The default; for a required setting an example; none for an optional one.
    pub default: Option<String>,
    /// What it is for.
    pub doc: &'static str,
    /// Whether the program does not start without it.
    pub required: bool,
}

impl SettingDoc {
    /// The environment variable that overrides the file.
    pub fn variable(&self) -> String {
        format!("{}{}", variable_prefix(self.table), upper(self.key))
    }
}

impl Settings {
    /// Settings of `program` from a source.
    pub fn new(program: &'static str, source: Source) -> Settings {
        Settings { program, source, asked: Vec::new(), problems: Vec::new() }
    }

    /// The value of `key`, or `default`. Key `listen` stands in this program's table, `cluster.node` in the shared one.
    /// Panics if the default itself is not valid, which the documentation test finds.
    pub fn get<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        default: &str,
        doc: &'static str,
    ) -> T {
        let setting = self.ask(key, Some(default.to_owned()), doc, false);
        self.parsed(&setting).unwrap_or_else(|| stand_in(key, default))
    }

    /// The value of `key`, if it is set.
    pub fn optional<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        doc: &'static str,
    ) -> Option<T> {
        let setting = self.ask(key, None, doc, false);
        self.parsed(&setting)
    }

    /// The value of `key`, which must be set. `example` shows in the documentation and stands in while the other
    /// settings are read; the program never runs with it.
    pub fn required<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        example: &str,
        doc: &'static str,
    ) -> T {
        let setting = self.ask(key, Some(example.to_owned()), doc, true);
        if self.source.value(setting.table, setting.key).is_none() {
            self.problem(format!(
                "`{}` in [{}] is missing: {doc} (for example `{example}`; or set {})",
                setting.key,
                setting.table,
                setting.variable()
            ));
        }
        self.parsed(&setting).unwrap_or_else(|| stand_in(key, example))
    }

    /// Records something wrong, such as two settings that exclude each other.
    pub fn problem(&mut self, message: String) {
        self.problems.push(message);
    }

    /// Every setting that `read` asks for, in that order, preceded by those of [`crate::main`].
    pub fn reference<C>(program: &'static str, read: fn(&mut Settings) -> C) -> Vec<SettingDoc> {
        let mut settings = Settings::new(program, Source::default());
        crate::program::Runtime::read(&mut settings);
        read(&mut settings);
        settings.asked
    }

    /// Ends reading: unknown keys are problems too. Gives the value back, or everything that is wrong.
    pub fn finish<C>(mut self, value: C) -> Result<C, Vec<String>> {
        self.find_unknown();
        self.problems.splice(0..0, self.source.take_problems());
        if self.problems.is_empty() { Ok(value) } else { Err(self.problems) }
    }

    fn ask(
        &mut self,
        key: &'static str,
        default: Option<String>,
        doc: &'static str,
        required: bool,
    ) -> SettingDoc {
        let (table, key) = match key.split_once('.') {
            Some((SHARED, key)) => (SHARED, key),
            Some(_) | None => (self.program, key),
        };
        let setting = SettingDoc { table, key, default, doc, required };
        if !self.asked.iter().any(|known| (known.table, known.key) == (table, key)) {
            self.asked.push(setting.clone());
        }
        setting
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, setting: &SettingDoc) -> Option<T> {
        let value = self.source.value(setting.table, setting.key)?;
        match value.text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.problem(format!("`{}` in {}: {error}", setting.key, value.place));
                None
            }
        }
    }

    /// Keys of this program's table that nothing asked for. The shared table is not judged: each program knows a part.
    fn find_unknown(&mut self) {
        let known: Vec<&str> = self
            .asked
            .iter()
            .filter(|setting| setting.table == self.program)
            .map(|setting| setting.key)
            .collect();
        let mut found = Vec::new();
        for key in self.source.keys(self.program) {
            if !known.contains(&key.as_str()) {
                let place = format!("`{key}` in [{}]", self.program);
                found.push(unknown(&place, nearest::nearest(&key, &known)));
            }
        }
        let prefix = variable_prefix(self.program);
        for variable in self.source.variables(&prefix) {
            let key = variable[prefix.len()..].to_lowercase();
            if !known.iter().any(|known| upper(known) == upper(&key)) {
                let near =
                    nearest::nearest(&key, &known).map(|key| format!("{prefix}{}", upper(key)));
                found.push(unknown(&format!("variable `{variable}`"), near.as_deref()));
            }
        }
        self.problems.extend(found);
    }
}

fn unknown(place: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("{place} is not a setting; did you mean `{near}`?"),
        None => format!("{place} is not a setting"),
    }
}

fn stand_in<T: FromStr<Err: Display>>(key: &str, text: &str) -> T {
    text.parse().unwrap_or_else(|error| {
        panic!("the default `{text}` of setting `{key}` is not valid: {error}")
    })
}

fn variable_prefix(table: &str) -> String {
    format!("TRIREME_{}_", upper(table))
}

fn upper(name: &str) -> String {
    name.replace(['-', '.'], "_").to_uppercase()
}

#[cfg(test)]
mod tests;
