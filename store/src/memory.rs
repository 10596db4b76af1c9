//! The store that lives in this process and dies with it: for tests and simulation, and the reference for the others.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;

use crate::history::History;
use crate::{Change, Entry, Listing, Op, Outcome, Revision, Store, StoreError, Txn, Watch, limits};

/// A store in memory. Its limits are those of [`limits`].
#[derive(Debug)]
pub struct MemoryStore {
    entries: Mutex<BTreeMap<String, Entry>>,
    history: History,
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self { entries: Mutex::default(), history: History::starting_after(Revision(0)) }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().expect("nothing panics while it holds the entries")
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        limits::check_key(key)?;
        Ok(self.entries().get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        limits::check_prefix(prefix)?;
        let entries = self.entries();
        let under =
            entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(Listing {
            entries: under.map(|(_, entry)| entry.clone()).collect(),
            revision: self.history.current(),
        })
    }

    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError> {
        limits::check_txn(&txn)?;
        let mut entries = self.entries();
        let modified = |key: &str| entries.get(key).map(|entry| entry.modified);
        if !txn.guards.iter().all(|guard| guard.holds(modified(guard.key()))) {
            return Ok(Outcome::Conflict);
        }
        let revision = Revision(self.history.current().0 + 1);
        let changes: Vec<Change> =
            txn.ops.into_iter().filter_map(|op| apply(&mut entries, op, revision)).collect();
        if changes.is_empty() {
            return Ok(Outcome::Committed(self.history.current()));
        }
        // Still under the lock on the entries, so that history keeps their order.
        self.history.record(revision, changes);
        Ok(Outcome::Committed(revision))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        limits::check_prefix(prefix)?;
        Ok(self.history.watch(prefix, after))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.history.compact(before)
    }
}

/// Does one op; nothing happens when an absent key is deleted.
fn apply(entries: &mut BTreeMap<String, Entry>, op: Op, modified: Revision) -> Option<Change> {
    match op {
        Op::Put { key, value } => {
            let created = entries.get(&key).map_or(modified, |entry| entry.created);
            let entry = Entry { key: key.clone(), value, created, modified };
            entries.insert(key, entry.clone());
            Some(Change::Put(entry))
        }
        Op::Delete { key } => {
            entries.remove(&key)?;
            Some(Change::Deleted { key, modified })
        }
    }
}
