//! One thing `doctor` looked at: how it is, and what to do about it.

use serde::Serialize;

use crate::output;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub area: String,
    /// How it is.
    pub grade: Grade,
    /// What was seen.
    pub seen: String,
    /// What to do about it; empty where all is well.
    pub advice: String,
}

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Well,
    /// It will become a problem.
    Warning,
    /// It is a problem.
    Problem,
}

impl Finding {
    pub(super) fn well(area: &str, seen: String) -> Finding {
        Finding { area: area.to_owned(), grade: Grade::Well, seen, advice: String::new() }
    }

    pub fn new(area: &str, grade: Grade, seen: String, advice: String) -> Finding {
        Finding { area: area.to_owned(), grade, seen, advice }
    }
}

/// A line or two for each.
pub(super) fn print(findings: &[Finding]) {
    for finding in findings {
        let mark = match finding.grade {
            Grade::Well => "ok     ",
            Grade::Warning => "warning",
            Grade::Problem => "PROBLEM",
        };
        output::line(format_args!("{mark}  {}: {}", finding.area, finding.seen));
        if !finding.advice.is_empty() {
            output::line(format_args!("         -> {}", finding.advice));
        }
    }
}
