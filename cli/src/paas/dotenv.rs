//! The `.env` format: what is written reads back the same, and what other tools write is understood.
//!
//! `KEY=plain`, `KEY='as it is'`, `KEY="with \n, \t, \", \\ and real line breaks"`; `export` in front,
//! empty lines and `#` comments are skipped. Nothing is expanded.

use std::collections::BTreeMap;

use model::name::EnvKey;

/// Why a text is not in the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DotenvError {
    /// No `=`.
    #[error("line {0} is not KEY=VALUE")]
    NotAPair(usize),
    /// The name breaks the rule.
    #[error("line {0}: `{1}` is not a variable name")]
    Key(usize, String),
    /// A quote is open at the end.
    #[error("line {0}: the value's closing {1} is missing")]
    OpenQuote(usize, char),
    /// Something stands behind the closing quote.
    #[error("line {0}: `{1}` stands behind the closing quote")]
    Trailing(usize, String),
    /// The same name again.
    #[error("line {0}: `{1}` was given before")]
    Twice(usize, String),
}

/// Writes values, sorted by name.
pub fn write(values: &BTreeMap<String, String>) -> String {
    values.iter().map(|(key, value)| format!("{key}={}\n", quote(value))).collect()
}

/// A value as it is written: plain where nothing can be misread.
pub fn quote(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' | '$' | '`' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads values.
pub fn read(text: &str) -> Result<BTreeMap<String, String>, DotenvError> {
    let mut values = BTreeMap::new();
    let mut reader = Reader { rest: text.trim_start_matches('\u{feff}'), line: 1 };
    while let Some((line, key, value)) = reader.pair()? {
        if key.parse::<EnvKey>().is_err() {
            return Err(DotenvError::Key(line, key));
        }
        if values.contains_key(&key) {
            return Err(DotenvError::Twice(line, key));
        }
        values.insert(key, value);
    }
    Ok(values)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    /// The next pair with the line it starts on.
    fn pair(&mut self) -> Result<Option<(usize, String, String)>, DotenvError> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let start = self.rest.trim_start_matches([' ', '\t']);
            if !start.is_empty() && !start.starts_with(['#', '\n', '\r']) {
                self.rest = start;
                break;
            }
            self.take_line();
        }
        let line = self.line;
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let (key, _) = self.rest[..end].split_once('=').ok_or(DotenvError::NotAPair(line))?;
        self.rest = &self.rest[key.len() + 1..];
        let key = key.trim();
        let key = key.strip_prefix("export ").unwrap_or(key).trim_start().to_owned();
        let value = self.value()?;
        Ok(Some((line, key, value)))
    }

    fn value(&mut self) -> Result<String, DotenvError> {
        let spaced = self.rest.trim_start_matches([' ', '\t']);
        let Some(quote) = spaced.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let line = self.take_line();
            let comment = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
            return Ok(line[..comment].trim().to_owned());
        };
        self.rest = &spaced[1..];
        let start = self.line;
        let (value, length) =
            quoted(self.rest, quote).ok_or(DotenvError::OpenQuote(start, quote))?;
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
        let line = self.line;
        let behind = self.take_line().trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(DotenvError::Trailing(line, behind.to_owned()));
        }
        Ok(value)
    }

    /// The rest of this line; the next one is then this one.
    fn take_line(&mut self) -> &str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        line
    }
}

/// The value up to its closing quote, and how many bytes that took.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((place, c)) = chars.next() {
        if c == quote {
            return Some((value, place + 1));
        }
        if c != '\\' || quote == '\'' {
            value.push(c);
            continue;
        }
        match chars.next()?.1 {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            same @ ('"' | '\\' | '$' | '`' | '\'') => value.push(same),
            other => value.extend(['\\', other]),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_other_tools_write_is_understood() {
        let text = "\u{feff}# comment\n\nexport A=1\r\nB = two words # note\nC='it is $5 \\n'\nD=\"a\nb\\tc\" # x\nE=\nF=x=y#z\n  G=\"\"";
        let wanted = pairs(&[
            ("A", "1"),
            ("B", "two words"),
            ("C", "it is $5 \\n"),
            ("D", "a\nb\tc"),
            ("E", ""),
            ("F", "x=y#z"),
            ("G", ""),
        ]);
        assert_eq!(read(text).unwrap(), wanted);
    }

    #[test]
    fn mistakes_are_said_with_their_line() {
        assert_eq!(read("A=1\n\nB"), Err(DotenvError::NotAPair(3)));
        assert_eq!(read("A=\"x\ny\"\n1B=2"), Err(DotenvError::Key(3, "1B".to_owned())));
        assert_eq!(read("A=1\nB='x"), Err(DotenvError::OpenQuote(2, '\'')));
        assert_eq!(read("A=\"x\" y"), Err(DotenvError::Trailing(1, "y".to_owned())));
        assert_eq!(read("A=1\nA=2"), Err(DotenvError::Twice(2, "A".to_owned())));
    }

    #[test]
    fn a_value_of_64_kib_survives() {
        let values = BTreeMap::from([("BIG".to_owned(), "ä\"\n=".repeat(13_107))]);
        assert_eq!(read(&write(&values)).unwrap(), values);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            values in prop::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,8}", any::<String>(), 0..6),
            tricky in "[\\\\\"'$`#= \t\r\nä]{0,12}",
        ) {
            let mut values = values;
            values.insert("TRICKY".to_owned(), tricky);
            prop_assert_eq!(read(&write(&values)).unwrap(), values);
        }
    }
}
