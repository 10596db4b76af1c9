//! The one thread that writes: it takes the transactions that wait, applies them together, and syncs once.

use std::sync::Arc;

use redb::{Database, ReadableTable, Table};
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, ENTRIES, META, REVISION, explain, revision};
use super::space::Space;
use crate::history::History;
use crate::limits::txn_bytes;
use crate::{Change, Entry, Op, Outcome, Revision, StoreError, Txn};

/// The most transactions in one commit.
const GROUP_TXNS: usize = 64;
/// A commit takes no further transaction once it holds this much.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

type Entries<'txn> = Table<'txn, &'static str, (u64, u64, &'static [u8])>;

/// A transaction and where its outcome goes.
#[derive(Debug)]
pub struct Request {
    /// Already within the limits.
    pub txn: Txn,
    /// Dropped by a caller that no longer waits; the transaction is done all the same.
    pub reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// What one transaction of a group did.
struct Applied {
    outcome: Outcome,
    changes: Vec<Change>,
}

/// Why a whole group failed.
enum Failure {
    /// Nothing of it is in the file.
    NotApplied(StoreError),
    /// The commit itself failed, so only a look at the file can tell.
    AtCommit(StoreError),
}

/// The state of the writer thread.
#[derive(Debug)]
pub struct Writer {
    disk: Arc<Disk>,
    history: Arc<History>,
    space: Space,
}

impl Writer {
    /// A writer to `disk` that tells `history` what it committed.
    pub fn new(disk: Arc<Disk>, history: Arc<History>, space: Space) -> Self {
        Self { disk, history, space }
    }

    /// Writes until the queue is closed and empty.
    pub fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let group = gather(first, &mut queue);
            let group = self.refuse_when_full(group);
            if !group.is_empty() {
                self.write(group);
            }
        }
    }

    /// Answers puts with [`StoreError::Full`] when the disk is near full; what only deletes goes on to the last.
    fn refuse_when_full(&mut self, group: Vec<Request>) -> Vec<Request> {
        let bytes = group.iter().map(|request| txn_bytes(&request.txn)).sum();
        let Err(full) = self.space.admit(bytes) else {
            return group;
        };
        let is_exhausted = self.space.is_exhausted();
        let (refused, others): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|request| is_exhausted || has_put(&request.txn));
        for request in refused {
            answer(request, Err(full.clone()));
        }
        others
    }

    fn write(&self, group: Vec<Request>) {
        match self.commit(&group) {
            Ok(applied) => self.acknowledge(group, applied),
            Err(failure) => {
                let error = self.recover(failure);
                for request in group {
                    answer(request, Err(error.clone()));
                }
            }
        }
    }

    fn commit(&self, group: &[Request]) -> Result<Vec<Applied>, Failure> {
        let database = self.usable_database().map_err(Failure::NotApplied)?;
        let write = database.begin_write().map_err(|error| Failure::NotApplied(explain(error)))?;
        let (applied, has_changed) = apply_group(&write, group).map_err(Failure::NotApplied)?;
        if has_changed {
            let done = write.commit();
            done.map_err(|error| Failure::AtCommit(explain(error)))?;
        }
        Ok(applied)
    }

    /// The open database; a failed reopening is tried again with each group.
    fn usable_database(&self) -> Result<Arc<Database>, StoreError> {
        if self.disk.database().is_err() {
            self.reopen()?;
        }
        self.disk.database()
    }

    fn acknowledge(&self, group: Vec<Request>, applied: Vec<Applied>) {
        for (request, done) in group.into_iter().zip(applied) {
            if let (Outcome::Committed(revision), false) = (done.outcome, done.changes.is_empty()) {
                self.history.record(revision, done.changes);
            }
            answer(request, Ok(done.outcome));
        }
    }

    /// Opens the file anew after a failure and says what became of the group.
    fn recover(&self, failure: Failure) -> StoreError {
        let before = self.history.current();
        let found = self.reopen();
        match (failure, found) {
            (Failure::NotApplied(error), _) => error,
            (Failure::AtCommit(error), Ok(found)) if found == before => error,
            // Found in the file is not yet safe on the disk, when it was the sync that failed.
            (Failure::AtCommit(error), _) => StoreError::Interrupted {
                detail: "its disk failed in the middle of a commit".into(),
                source: Some(Arc::new(error)),
            },
        }
    }

    fn reopen(&self) -> Result<Revision, StoreError> {
        let found = self.disk.reopen().inspect_err(|error| {
            tracing::error!(%error, "the store's file could not be opened again");
        })?;
        if found != self.history.current() {
            self.history.restart_after(found);
        }
        tracing::warn!(revision = found.0, "the store's file was opened again");
        Ok(found)
    }
}

fn gather(first: Request, queue: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let mut bytes = txn_bytes(&first.txn);
    let mut group = vec![first];
    while group.len() < GROUP_TXNS && bytes < GROUP_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        bytes += txn_bytes(&next.txn);
        group.push(next);
    }
    group
}

fn apply_group(
    write: &redb::WriteTransaction,
    group: &[Request],
) -> Result<(Vec<Applied>, bool), StoreError> {
    let mut entries = write.open_table(ENTRIES).map_err(explain)?;
    let mut meta = write.open_table(META).map_err(explain)?;
    let start = revision(&meta)?;
    let mut current = start;
    let mut applied = Vec::with_capacity(group.len());
    for request in group {
        applied.push(apply_txn(&mut entries, &request.txn, &mut current)?);
    }
    if current != start {
        meta.insert(REVISION, current.0).map_err(explain)?;
    }
    Ok((applied, current != start))
}

fn apply_txn(
    entries: &mut Entries<'_>,
    txn: &Txn,
    current: &mut Revision,
) -> Result<Applied, StoreError> {
    for guard in &txn.guards {
        let stored = entries.get(guard.key()).map_err(explain)?;
        if !guard.holds(stored.map(|it| Revision(it.value().1))) {
            return Ok(Applied { outcome: Outcome::Conflict, changes: Vec::new() });
        }
    }
    let next = Revision(current.0 + 1);
    let mut changes = Vec::with_capacity(txn.ops.len());
    for op in &txn.ops {
        changes.extend(apply_op(entries, op, next)?);
    }
    if !changes.is_empty() {
        *current = next;
    }
    Ok(Applied { outcome: Outcome::Committed(*current), changes })
}

fn apply_op(
    entries: &mut Entries<'_>,
    op: &Op,
    modified: Revision,
) -> Result<Option<Change>, StoreError> {
    match op {
        Op::Put { key, value } => {
            let stored = entries.get(key.as_str()).map_err(explain)?;
            let created = stored.map_or(modified, |it| Revision(it.value().0));
            entries
                .insert(key.as_str(), (created.0, modified.0, value.as_ref()))
                .map_err(explain)?;
            Ok(Some(Change::Put(Entry {
                key: key.clone(),
                value: value.clone(),
                created,
                modified,
            })))
        }
        Op::Delete { key } => {
            let removed = entries.remove(key.as_str()).map_err(explain)?;
            Ok(removed.map(|_| Change::Deleted { key: key.clone(), modified }))
        }
    }
}

fn has_put(txn: &Txn) -> bool {
    txn.ops.iter().any(|op| matches!(op, Op::Put { .. }))
}

fn answer(request: Request, result: Result<Outcome, StoreError>) {
    // A caller that went away learns the outcome by reading.
    let _ = request.reply.send(result);
}
