//! A transaction: what must hold, and what is then done, all or nothing.

use bytes::Bytes;

use crate::Revision;

/// A condition on one key, checked at the moment the transaction is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key does not exist.
    Absent(String),
    /// The key exists and was last put at `modified`.
    Unchanged {
        /// The key.
        key: String,
        /// What [`crate::Entry::modified`] said when it was read; never 0, which is what [`Guard::Absent`] says.
        modified: Revision,
    },
}

impl Guard {
    /// The key it looks at.
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::Unchanged { key, .. } => key,
        }
    }

    /// Whether it holds for a key last put at `modified`, or absent.
    pub(crate) fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => found.is_none(),
            Self::Unchanged { modified, .. } => found == Some(*modified),
        }
    }
}

/// One change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes the key, or replaces its value.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
    },
    /// Removes the key; an absent key is fine.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// The key it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Guards and ops that are applied as one; its limits stand in [`crate::limits`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold, or nothing is written.
    pub guards: Vec<Guard>,
    /// Done in this order; a key stands here once at most.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Nothing required, nothing done.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that `key` does not exist.
    pub fn absent(mut self, key: impl Into<String>) -> Self {
        self.guards.push(Guard::Absent(key.into()));
        self
    }

    /// Requires that `key` exists and was last put at `modified`.
    pub fn unchanged(mut self, key: impl Into<String>, modified: Revision) -> Self {
        self.guards.push(Guard::Unchanged { key: key.into(), modified });
        self
    }

    /// Puts `value` at `key`.
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into() });
        self
    }

    /// Deletes `key`.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All guards held and all ops are done, durably, as of this revision.
    Committed(Revision),
    /// Some guard did not hold; nothing was written.
    Conflict,
}
