//! The store of one machine: a redb file, with every acknowledged transaction on disk first.
//!
//! ```text
//!   transact ──► bounded queue ──► writer thread: group, check guards, apply, one fsync ──► answers, History
//!   get, list ──────────────────► a snapshot of the file as last committed
//! ```
//!
//! Changes for watches are kept in memory only: after a restart every reader lists anew.

mod disk;
mod space;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::history::History;
use crate::{Entry, Listing, Outcome, Revision, Store, StoreError, Txn, Watch, limits};
use disk::{Disk, Opener};
use space::Space;
use writer::{Request, Writer};

/// Transactions that may wait for the writer; more wait outside the queue.
const QUEUED_TXNS: usize = 256;
/// How long a transaction waits for its answer; a sound disk needs milliseconds.
const TRANSACT_DEADLINE: Duration = Duration::from_secs(10);

/// What can be set about an [`EmbeddedStore`].
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Puts are refused with [`StoreError::Full`] while the file's disk has less free than this.
    pub free_floor_bytes: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { free_floor_bytes: 64 * 1024 * 1024 }
    }
}

/// A store in one file, for one process at a time. Dropping it waits for the writer and closes the file.
#[derive(Debug)]
pub struct EmbeddedStore {
    disk: Arc<Disk>,
    history: Arc<History>,
    /// Always there until drop, which ends the writer by taking it.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the file at `path`, making it (readable by its owner only) where there is none. Blocks on the disk.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, EmbeddedOptions::default())
    }

    /// [`Self::open`] with other settings than the defaults.
    pub fn open_with(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let space = Space::new(path, options.free_floor_bytes);
        Self::start(disk::file_opener(path), space)
    }

    fn start(opener: Opener, space: Space) -> Result<Self, StoreError> {
        let (disk, revision) = Disk::open(opener)?;
        let disk = Arc::new(disk);
        let history = Arc::new(History::starting_after(revision));
        let (requests, queue) = mpsc::channel(QUEUED_TXNS);
        let writer = Writer::new(disk.clone(), history.clone(), space);
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(queue))
            .map_err(|error| unavailable("start its writer thread", error))?;
        Ok(Self { disk, history, requests: Some(requests), writer: Some(writer) })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = self.disk.clone();
        tokio::task::spawn_blocking(move || read(&disk))
            .await
            .map_err(|error| unavailable("read the file", error))?
    }

    async fn submit(&self, txn: Txn) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.requests.as_ref().expect("taken by drop only");
        if queue.send(Request { txn, reply }).await.is_err() {
            return Err(StoreError::Unavailable {
                detail: "its writer thread has ended".into(),
                source: None,
            });
        }
        answer.await.unwrap_or_else(|error| {
            Err(StoreError::Interrupted {
                detail: "its writer thread ended in the middle".into(),
                source: Some(Arc::new(error)),
            })
        })
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.requests.take();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer thread had panicked");
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        limits::check_key(key)?;
        let key = key.to_owned();
        self.read(move |disk| disk.get(&key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        limits::check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.read(move |disk| disk.list(&prefix)).await
    }

    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError> {
        limits::check_txn(&txn)?;
        tokio::time::timeout(TRANSACT_DEADLINE, self.submit(txn))
            .await
            .unwrap_or(Err(StoreError::TimedOut(TRANSACT_DEADLINE)))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        limits::check_prefix(prefix)?;
        Ok(self.history.watch(prefix, after))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.history.compact(before)
    }
}

fn unavailable(detail: &str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable { detail: detail.into(), source: Some(Arc::new(source)) }
}

#[cfg(test)]
mod tests;
