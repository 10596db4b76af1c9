//! The memory of the cluster: one trait, [`Store`], kept by three backends that obey one contract.
//!
//! In come guarded transactions over opaque keys and values; out go entries, listings at one revision, and
//! changes in revision order. It knows nothing of apps or nodes, grants no leases, and never reads the clock
//! to decide anything.
//!
//! ```text
//!   Txn ──► limits ──► MemoryStore    tests and simulation; the reference for the other two
//!                      EmbeddedStore  one machine: a redb file, fsynced before each acknowledgement
//!                      EtcdStore      three machines and more
//! ```
//!
//! Read [`Store`] first, then [`contract`], which says in code what every backend must do.

mod txn;
pub use txn::{Guard, Op, Outcome, Txn};
mod error;
pub use error::{Cause, StoreError};
mod history;
pub mod limits;
mod watch;
pub use watch::Watch;
mod memory;
pub use memory::MemoryStore;
mod embedded;
pub mod faults;
pub use embedded::{EmbeddedOptions, EmbeddedStore};
mod etcd;
pub use etcd::{EtcdMember, EtcdMembers, EtcdOptions, EtcdStore, EtcdTls, MemberError};
pub mod contract;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A point in the store's life: it grows by one with each transaction that changed something.
///
/// 0 lies before the first change of an empty store. Two backends count from different numbers (a fresh etcd
/// already says 1), so compare revisions of one store only.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// One key with its value and the revisions that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// What was last put there.
    pub value: Bytes,
    /// The revision that made the key appear; a key deleted and put again has a new one.
    pub created: Revision,
    /// The revision of the last put; what [`Guard::Unchanged`] compares.
    pub modified: Revision,
}

/// Every entry under a prefix as it stood at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// In key order (by bytes).
    pub entries: Vec<Entry>,
    /// The revision of the whole store the entries belong to; a watch goes on after it without a gap.
    pub revision: Revision,
}

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was made or got a new value (possibly equal to the old one).
    Put(Entry),
    /// The key is gone.
    Deleted {
        /// The key.
        key: String,
        /// The revision that deleted it.
        modified: Revision,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key, .. } => key,
        }
    }

    /// The revision of the change.
    pub fn modified(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.modified,
            Self::Deleted { modified, .. } => *modified,
        }
    }
}

/// The memory of the cluster. Reads are linearizable: they see every transaction acknowledged before them.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The entry at `key`, if there is one.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Every entry whose key starts with `prefix` (`""` for all), at one revision.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// What is remembered nearby of every entry under a prefix. It may be old, and it is to be had even when the members
    /// of the store cannot agree on anything.
    async fn recall(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.list(prefix).await
    }

    /// Applies all of `txn`, or nothing of it.
    ///
    /// A transaction that changes nothing (no ops, or deletes of absent keys only) commits at the revision the
    /// store already has. After an error with [`StoreError::is_outcome_unknown`] it may or may not have been
    /// applied, or may yet be: read before acting.
    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError>;

    /// Changes under `prefix` after `after`, in revision order, each revision's changes together in one batch in
    /// the order of the transaction's ops.
    ///
    /// The stream goes on until its one error, which is its last item: [`StoreError::Compacted`] when history
    /// it needed is gone, another when the backend was lost. The reader then lists and watches again. An `after` ahead
    /// of the store yields nothing until the store has passed it.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// Forgets changes older than `before`; entries stay. A watch can go on after `before` - 1 or later.
    ///
    /// Backends may forget earlier by themselves. What is already forgotten is not an error; a `before` more than
    /// one ahead of the store is.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;
}
