//! The recent changes of a store in this process, from which its watches read at their own pace.
//!
//! There is no queue per watch: each holds a place in the shared history and is woken when it grows. A watch
//! that falls behind the bounded history is told that it was compacted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream;
use tokio::sync::watch;

use crate::limits::{MAX_HISTORY_BYTES, MAX_HISTORY_REVISIONS};
use crate::{Change, Revision, StoreError, Watch};

/// The changes that watches may still ask for. Dropping it ends its watches with an error.
#[derive(Debug)]
pub(crate) struct History {
    recent: Arc<Mutex<Recent>>,
    grown: watch::Sender<()>,
}

#[derive(Debug)]
struct Recent {
    /// A watch can go on after this revision or a later one.
    oldest: Revision,
    current: Revision,
    /// One batch per revision in (oldest, current], in order.
    batches: VecDeque<Batch>,
    bytes: usize,
}

#[derive(Debug)]
struct Batch {
    revision: Revision,
    changes: Vec<Change>,
    bytes: usize,
}

impl History {
    /// A history that begins after `revision`.
    pub fn starting_after(revision: Revision) -> Self {
        let recent =
            Recent { oldest: revision, current: revision, batches: VecDeque::new(), bytes: 0 };
        Self { recent: Arc::new(Mutex::new(recent)), grown: watch::Sender::new(()) }
    }

    /// Adds the changes of `revision`, the next one, and wakes the watches.
    pub fn record(&self, revision: Revision, changes: Vec<Change>) {
        lock(&self.recent).push(revision, changes);
        self.grown.send_replace(());
    }

    /// Forgets everything because the store may have moved to `revision` without telling.
    pub fn restart_after(&self, revision: Revision) {
        *lock(&self.recent) =
            Recent { oldest: revision, current: revision, batches: VecDeque::new(), bytes: 0 };
        self.grown.send_replace(());
    }

    /// The revision of the newest batch.
    pub fn current(&self) -> Revision {
        lock(&self.recent).current
    }

    /// Forgets changes older than `before`.
    pub fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let mut recent = lock(&self.recent);
        if before.0 > recent.current.0 + 1 {
            let reason =
                format!("cannot compact before {before}: the store is at {}", recent.current);
            return Err(StoreError::Invalid(reason));
        }
        while recent.batches.front().is_some_and(|batch| batch.revision < before) {
            recent.forget_first();
        }
        Ok(())
    }

    /// The changes under `prefix` after `after`.
    pub fn watch(&self, prefix: &str, after: Revision) -> Watch {
        let reader = Reader {
            recent: self.recent.clone(),
            grown: self.grown.subscribe(),
            prefix: prefix.into(),
            after,
        };
        Watch::new(stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(changes) => Some((Ok(changes), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

impl Recent {
    fn push(&mut self, revision: Revision, changes: Vec<Change>) {
        let bytes = changes.iter().map(change_bytes).sum();
        self.current = revision;
        self.bytes += bytes;
        self.batches.push_back(Batch { revision, changes, bytes });
        while self.batches.len() > MAX_HISTORY_REVISIONS
            || (self.bytes > MAX_HISTORY_BYTES && self.batches.len() > 1)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.oldest = batch.revision;
            self.bytes -= batch.bytes;
        }
    }

    /// The first changes under `prefix` after `after`, and their revision.
    fn next(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<Option<(Revision, Vec<Change>)>, StoreError> {
        if after < self.oldest {
            return Err(StoreError::Compacted { oldest: self.oldest });
        }
        let first = self.batches.partition_point(|batch| batch.revision <= after);
        Ok(self.batches.range(first..).find_map(|batch| {
            let changes = changes_under(prefix, &batch.changes);
            (!changes.is_empty()).then_some((batch.revision, changes))
        }))
    }
}

/// One watch's place in the history.
struct Reader {
    recent: Arc<Mutex<Recent>>,
    grown: watch::Receiver<()>,
    prefix: String,
    after: Revision,
}

impl Reader {
    async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            self.grown.borrow_and_update();
            if let Some(changes) = self.step()? {
                return Ok(changes);
            }
            if self.grown.changed().await.is_err() {
                return Err(StoreError::Unavailable {
                    detail: "it was closed".into(),
                    source: None,
                });
            }
        }
    }

    fn step(&mut self) -> Result<Option<Vec<Change>>, StoreError> {
        let recent = lock(&self.recent);
        match recent.next(&self.prefix, self.after)? {
            Some((revision, changes)) => {
                self.after = revision;
                Ok(Some(changes))
            }
            None => {
                // Others' changes were seen too, so an idle watch is never compacted away.
                self.after = self.after.max(recent.current);
                Ok(None)
            }
        }
    }
}

fn lock(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().expect("nothing panics while it holds the history")
}

fn changes_under(prefix: &str, changes: &[Change]) -> Vec<Change> {
    let under = changes.iter().filter(|change| change.key().starts_with(prefix));
    under.cloned().collect()
}

fn change_bytes(change: &Change) -> usize {
    match change {
        Change::Put(entry) => entry.key.len() + entry.value.len(),
        Change::Deleted { key, .. } => key.len(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt;

    use super::*;

    fn put(revision: u64, bytes: usize) -> Vec<Change> {
        vec![Change::Put(crate::Entry {
            key: "k".into(),
            value: Bytes::from(vec![0; bytes]),
            created: Revision(revision),
            modified: Revision(revision),
        })]
    }

    #[tokio::test]
    async fn a_watch_older_than_the_kept_revisions_is_compacted() {
        let history = History::starting_after(Revision(0));
        let mut late = history.watch("", Revision(0));
        let extra = 5;
        for revision in 1..=(MAX_HISTORY_REVISIONS as u64 + extra) {
            history.record(Revision(revision), put(revision, 1));
        }
        let oldest = Revision(extra);
        let error = late.next().await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Compacted { oldest: found } if found == oldest));
        assert!(late.next().await.is_none());
        let first = history.watch("", oldest).next().await.unwrap().unwrap();
        assert_eq!(first[0].modified(), Revision(extra + 1));
    }

    #[tokio::test]
    async fn large_changes_are_forgotten_by_size_but_the_newest_stays() {
        let history = History::starting_after(Revision(0));
        for revision in 1..=4 {
            history.record(Revision(revision), put(revision, MAX_HISTORY_BYTES));
        }
        let first = history.watch("", Revision(3)).next().await.unwrap().unwrap();
        assert_eq!(first[0].modified(), Revision(4));
        let error = history.watch("", Revision(2)).next().await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Compacted { .. }));
    }

    #[tokio::test]
    async fn closing_the_store_ends_its_watches_with_an_error() {
        let history = History::starting_after(Revision(0));
        let mut watch = history.watch("", Revision(0));
        drop(history);
        let error = watch.next().await.unwrap().unwrap_err();
        assert!(error.is_retryable());
        assert!(watch.next().await.is_none());
    }
}
