//! What can go wrong with the store, and whether trying again helps.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::Revision;

/// An underlying error, shared because one failed disk write fails every transaction grouped with it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a call to the store failed. Texts complete "failed to ...".
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The backend could not be reached or refused for now; nothing was written.
    #[error("reach the store: {detail}")]
    Unavailable {
        /// What was being done.
        detail: String,
        /// The backend's own error, if there was one.
        #[source]
        source: Option<Cause>,
    },
    /// No answer within the deadline; a transaction may or may not have been applied, or may yet be.
    #[error("get an answer from the store within {0:?}")]
    TimedOut(Duration),
    /// The backend was lost in the middle of a call; a transaction may or may not have been applied.
    #[error("finish a call to the store: {detail}")]
    Interrupted {
        /// What was being done.
        detail: String,
        /// The backend's own error.
        #[source]
        source: Option<Cause>,
    },
    /// The changes a watch asked for are gone; list, then watch after the listing's revision.
    #[error("go on watching: changes up to revision {oldest} were compacted away")]
    Compacted {
        /// The oldest revision a watch could still go on after.
        oldest: Revision,
    },
    /// Something exceeds its limit of [`crate::limits`]; nothing was written.
    #[error("accept {what}: {size} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The call breaks a rule of the store; nothing was written.
    #[error("accept the call: {0}")]
    Invalid(String),
    /// Too little disk left to write safely; nothing was written. Reads and deletes still work.
    #[error("write to the store: {detail}")]
    Full {
        /// Which disk or quota, and how much is left.
        detail: String,
    },
    /// Another process has the store's file open.
    #[error("open the store `{path}`: another process has it open")]
    InUse {
        /// The file.
        path: String,
    },
    /// What is stored cannot be understood.
    #[error("read the store: {detail}")]
    Corrupt {
        /// What was found.
        detail: String,
        /// The backend's own error, if there was one.
        #[source]
        source: Option<Cause>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later. After [`Self::is_outcome_unknown`], read first.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::TimedOut(_)
            | Self::Interrupted { .. }
            | Self::Full { .. }
            | Self::InUse { .. } => true,
            Self::Compacted { .. }
            | Self::TooLarge { .. }
            | Self::Invalid(_)
            | Self::Corrupt { .. } => false,
        }
    }

    /// Whether a transaction that failed so may have been applied all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Interrupted { .. })
    }
}
