//! Which lines a reader wants. Pure.

use crate::record::{Record, StoredLine};

/// A line may have been written this long after it arrived, by the clock of another node.
const CLOCK_SKEW_MS: u64 = 60_000;

/// A reader's wish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `web` for all of the type, `web.2` for one; empty for all.
    pub process: String,
    /// Only lines written then or later, in milliseconds since 1970.
    pub since_ms: u64,
}

impl Filter {
    /// Whether the reader wants this line.
    pub fn matches(&self, line: &StoredLine) -> bool {
        line.at_ms >= self.since_ms && self.matches_process(&line.process)
    }

    fn matches_process(&self, process: &str) -> bool {
        let Some(rest) = process.strip_prefix(self.process.as_str()) else { return false };
        self.process.is_empty()
            || rest.is_empty()
            || (rest.starts_with('.') && !self.process.contains('.'))
    }

    /// Whether this record arrived so early that neither it nor any before it can hold a wanted line.
    pub fn is_after(&self, record: &Record) -> bool {
        record.received_ms.saturating_add(CLOCK_SKEW_MS) < self.since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_stands_for_all_of_its_units_and_a_unit_for_itself() {
        let matches = |process: &str, line: &str| {
            let filter = Filter { process: process.to_owned(), since_ms: 5 };
            let line = StoredLine { process: line.to_owned(), at_ms: 5, ..StoredLine::default() };
            filter.matches(&line)
        };
        for (process, line) in [
            ("", "web.1"),
            ("web", "web.1"),
            ("web", "web.12"),
            ("web.1", "web.1"),
            ("build", "build"),
        ] {
            assert!(matches(process, line), "{process} {line}");
        }
        for (process, line) in [
            ("web.1", "web.12"),
            ("web", "webhook.1"),
            ("web", "build"),
            ("web.1", "web"),
            ("web.1", "web.1.2"),
        ] {
            assert!(!matches(process, line), "{process} {line}");
        }
    }

    #[test]
    fn only_lines_written_since_are_wanted() {
        let filter = Filter { process: String::new(), since_ms: 100_000 };
        let at = |at_ms| StoredLine { at_ms, ..StoredLine::default() };
        assert!(filter.matches(&at(100_000)) && !filter.matches(&at(99_999)));
        let received = |received_ms| Record { received_ms, ..Record::default() };
        assert!(filter.is_after(&received(39_999)) && !filter.is_after(&received(40_000)));
    }
}
