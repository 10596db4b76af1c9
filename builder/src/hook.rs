//! The line between git's pre-receive hook and the builder: a unix socket, one request, then output and an exit code.
//!
//! The hook sends one line of JSON. Back come frames: a kind (`o` output, `x` exit code), a length of four bytes, the
//! bytes. A line that breaks without an exit code means that the builder is gone.

mod client;
mod server;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use client::run;
pub use server::serve;

/// Where the hook finds the socket; set by the builder for git.
pub const SOCKET_VARIABLE: &str = "TRIREME_HOOK_SOCKET";
/// Which session the hook belongs to; set by the builder for git.
pub const SESSION_VARIABLE: &str = "TRIREME_HOOK_SESSION";

/// A request is at most this long.
const MAX_REQUEST: u64 = 4 << 20;
const OUTPUT: u8 = b'o';
const EXIT: u8 = b'x';

/// What the hook knows of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The session's secret.
    pub session: String,
    /// Where git keeps the new objects until the push is accepted.
    pub quarantine: Option<PathBuf>,
    /// What the push wants to change.
    pub updates: Vec<Update>,
}

/// One ref that a push wants to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The commit before; zeros if the ref is new.
    pub old: String,
    /// The commit after; zeros if the ref is deleted.
    pub new: String,
    /// The ref's full name.
    pub name: String,
}

impl Update {
    /// Reads a line of the hook's standard input.
    pub fn parse(line: &str) -> Option<Update> {
        let (old, rest) = line.split_once(' ')?;
        let (new, name) = rest.split_once(' ')?;
        Some(Update { old: old.to_owned(), new: new.to_owned(), name: name.to_owned() })
    }

    /// Whether the ref is to go.
    pub fn is_deletion(&self) -> bool {
        self.new.bytes().all(|b| b == b'0')
    }
}
