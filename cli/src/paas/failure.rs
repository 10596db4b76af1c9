//! How a command fails: what is printed on standard error, and the exit code scripts can trust.

use std::fmt::Display;

use proto::problem::{Code, Problem};

/// The controller refused, or it was tried and failed.
pub const REFUSED: u8 = 1;
/// The command line itself is wrong; nothing was asked of the controller.
pub const USAGE: u8 = 2;
/// Nobody is logged in, or the token is no longer valid.
pub const LOGIN_NEEDED: u8 = 3;
/// The controller cannot be reached or trusted.
pub const UNREACHABLE: u8 = 4;

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// What happened and what to do; none: the exit code says it all.
    pub problem: Option<Box<Problem>>,
}

impl Failure {
    /// It was refused or failed.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure::new(REFUSED, Code::Invalid, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(USAGE, Code::Invalid, message)
    }

    /// Nobody is logged in.
    pub fn login_needed(message: impl Into<String>) -> Failure {
        Failure::new(LOGIN_NEEDED, Code::LoginNeeded, message)
    }

    /// The controller cannot be reached.
    pub fn unreachable(message: impl Into<String>) -> Failure {
        Failure::new(UNREACHABLE, Code::Unavailable, message)
    }

    /// Something on this machine did not work: `failed to {what}: {cause}`.
    pub fn local(what: impl Display, cause: impl Display) -> Failure {
        Failure::refused(format!("failed to {what}: {cause}"))
    }

    /// The code of what was run; it has already said the rest.
    pub fn silent(exit: u8) -> Failure {
        Failure { exit, problem: None }
    }

    /// The same with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        if let Some(problem) = &mut self.problem {
            problem.hint = hint.into();
        }
        self
    }

    /// The same with more lines.
    pub fn details(mut self, details: Vec<String>) -> Failure {
        if let Some(problem) = &mut self.problem {
            problem.details = details;
        }
        self
    }

    /// Whether asking again may help: the way to the controller is broken, or a part of it.
    pub fn is_passing(&self) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.code == Code::Unavailable)
    }

    /// Whether there is no such thing, or not any more.
    pub fn is_about_nothing(&self) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.code == Code::NotFound)
    }

    /// Prints it on standard error.
    pub fn print(&self) {
        for line in self.lines() {
            eprintln!("{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let Some(problem) = &self.problem else { return Vec::new() };
        let said = [problem.message.as_str(), problem.hint.as_str()];
        let said = said.iter().flat_map(|text| text.lines());
        let mut lines: Vec<String> = said.map(|line| format!(" !     {line}")).collect();
        lines.extend(problem.details.iter().map(|line| format!("       {line}")));
        if problem.code == Code::Internal && !problem.request_id.is_empty() {
            lines.push(format!("       request {}", problem.request_id));
        }
        lines
    }

    fn new(exit: u8, code: Code, message: impl Into<String>) -> Failure {
        Failure { exit, problem: Some(Box::new(Problem::new(code, message))) }
    }
}

impl From<Problem> for Failure {
    fn from(mut problem: Problem) -> Failure {
        let exit = if problem.code == Code::LoginNeeded { LOGIN_NEEDED } else { REFUSED };
        if problem.code == Code::LoginNeeded && problem.hint.is_empty() {
            "Log in again: paasctl login".clone_into(&mut problem.hint);
        }
        Failure { exit, problem: Some(Box::new(problem)) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::refused(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_printed_with_its_way_out_and_its_details() {
        let problem = Problem::new(Code::Crashed, "`shop` web.1 ended by itself")
            .hint("Fix it and push again.")
            .details(vec!["KeyError: 'DB'".to_owned()]);
        assert_eq!(
            Failure::from(problem).lines(),
            [
                " !     `shop` web.1 ended by itself",
                " !     Fix it and push again.",
                "       KeyError: 'DB'"
            ]
        );
    }

    #[test]
    fn a_mistake_of_ours_shows_the_request_that_finds_it() {
        let mut problem = Problem::new(Code::Internal, "something broke");
        "r1".clone_into(&mut problem.request_id);
        assert_eq!(Failure::from(problem).lines()[1], "       request r1");
    }

    #[test]
    fn only_a_missing_login_has_its_own_exit_code() {
        assert_eq!(Failure::from(Problem::new(Code::LoginNeeded, "no")).exit, LOGIN_NEEDED);
        assert_eq!(Failure::from(Problem::new(Code::WrongPassword, "no")).exit, REFUSED);
    }
}
