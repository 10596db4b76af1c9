//! The one shape of every refusal: a code, what happened, what to do next.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A refusal or failure, in the user's words. The body of every non-2xx answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stable, for scripts.
    pub code: Code,
    /// What happened.
    pub message: String,
    /// What to do next; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// More lines, such as a failing unit's last output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Finds the request in the platform's own logs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

// A code's text is a `tt`: of a `literal` the derive of the API's document would not see the value.
macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:tt, $status:literal;)*) => {
        /// Every code there is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        pub enum Code {
            $($(#[doc = $doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// All codes, in order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// As scripts see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// The HTTP status that carries it.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }
        }
    };
}

codes! {
    /// The request could not be understood or a value breaks its rule.
    Invalid = "invalid", 400;
    /// No valid token was given.
    LoginNeeded = "login-needed", 401;
    /// User name or password is wrong.
    WrongPassword = "wrong-password", 401;
    /// The account has no right to it.
    Forbidden = "forbidden", 403;
    /// The token's scope does not cover it.
    ScopeTooSmall = "scope-too-small", 403;
    /// Registration is closed.
    RegistrationClosed = "registration-closed", 403;
    /// There is no such thing, or you may not know of it.
    NotFound = "not-found", 404;
    /// There is one already.
    Exists = "exists", 409;
    /// Something else needs it.
    InUse = "in-use", 409;
    /// A deploy of the app is under way.
    Busy = "busy", 409;
    /// Somebody changed it at the same moment.
    Conflict = "conflict", 409;
    /// The app has no release to do that with.
    NothingDeployed = "nothing-deployed", 409;
    /// No node has room.
    NoRoom = "no-room", 409;
    /// Too large.
    TooLarge = "too-large", 413;
    /// Too many attempts; wait.
    TooMany = "too-many", 429;
    /// The new version did not become ready in time.
    Unhealthy = "unhealthy", 422;
    /// The new version's units end by themselves.
    Crashed = "crashed", 422;
    /// The release phase failed.
    ReleaseFailed = "release-failed", 422;
    /// The build failed.
    BuildFailed = "build-failed", 422;
    /// The branch does not deploy.
    WrongBranch = "wrong-branch", 422;
    /// What is in the push cannot be built.
    Unsupported = "unsupported", 422;
    /// The disk is too full to take it safely.
    DiskFull = "disk-full", 507;
    /// Too few of the cluster's control nodes are there to change anything.
    NoQuorum = "no-quorum", 503;
    /// A part of the platform that is needed does not answer.
    Unavailable = "unavailable", 503;
    /// It was not done in time; it may still be.
    TimedOut = "timed-out", 504;
    /// Our mistake; the request id finds it in the logs.
    Internal = "internal", 500;
}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Problem {
        Problem {
            code,
            message: message.into(),
            hint: String::new(),
            details: Vec::new(),
            request_id: String::new(),
        }
    }

    /// The same with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = hint.into();
        self
    }

    /// The same with more lines.
    pub fn details(mut self, details: Vec<String>) -> Problem {
        self.details = details;
        self
    }

    /// As JSON, for messages that carry it as text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a problem holds only text")
    }

    /// From JSON; an unreadable one becomes an internal problem that shows the text.
    pub fn from_json(text: &str) -> Problem {
        serde_json::from_str(text).unwrap_or_else(|_| Problem::new(Code::Internal, text))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)?;
        if !self.hint.is_empty() {
            write!(f, ". {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for code in Code::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<Code>(&text).unwrap(), *code);
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn a_problem_survives_its_trip() {
        let problem = Problem::new(Code::NoRoom, "no node has 512 MiB free").hint("Add a node");
        assert_eq!(Problem::from_json(&problem.to_json()), problem);
        assert_eq!(Problem::from_json("<html>").code, Code::Internal);
    }
}
