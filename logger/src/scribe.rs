//! The only writer: one thread that takes batches from all senders, writes them, syncs many at once and then answers.
//!
//! A lone batch is synced at once. Under load the syncs keep a distance, and what arrives between two shares the second.

mod desk;
mod shelf;

pub use desk::Desk;

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use model::name::{AppName, NodeName};
use rustix::io::Errno;
use service::{Clock, Metrics};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::{intake::Batch, segments::End};

/// What may wait for the writer, in KiB; further senders wait themselves.
const WAITING_KIB: usize = 16 << 10;
/// A sender waits so long for room, then it is told to come again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and how much the scribe may write.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The folder of the apps' folders.
    pub folder: PathBuf,
    /// The folder of other nodes' folders, which hold those of apps.
    pub copies: PathBuf,
    /// What one app's log may take.
    pub max_app_bytes: u64,
    /// Lines are refused while the disk has less than this free.
    pub min_free: u64,
}

/// Whose lines: an app's, of this node or as kept for another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The other node.
    pub origin: Option<NodeName>,
    /// The app.
    pub app: AppName,
}

impl Limits {
    /// The folder of a log.
    pub fn folder_of(&self, place: &Place) -> PathBuf {
        match &place.origin {
            Some(origin) => self.copies.join(origin.as_str()).join(place.app.as_str()),
            None => self.folder.join(place.app.as_str()),
        }
    }

    /// The other nodes of which there are lines of an app. Blocks.
    pub fn origins(&self, app: &AppName) -> io::Result<Vec<NodeName>> {
        let mut origins = Vec::new();
        for entry in fs::read_dir(&self.copies)? {
            let entry = entry?;
            if entry.path().join(app.as_str()).is_dir() {
                origins.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
            }
        }
        Ok(origins)
    }
}

/// Why lines were not stored, or a log not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScribeError {
    /// The disk has no room.
    #[error("store lines: the disk is nearly full")]
    DiskFull,
    /// Too much is waiting.
    #[error("store lines: the disk does not keep up")]
    Busy,
    /// The file system failed; the log tells why.
    #[error("store lines: the disk failed")]
    Io,
    /// The program ends.
    #[error("store lines: the logger is stopping")]
    Stopped,
}

impl From<io::Error> for ScribeError {
    fn from(error: io::Error) -> ScribeError {
        let full = [Errno::NOSPC, Errno::DQUOT].map(|errno| errno.raw_os_error());
        if error.raw_os_error().is_some_and(|code| full.contains(&code)) {
            return ScribeError::DiskFull;
        }
        tracing::error!(%error, "a log could not be written or read");
        ScribeError::Io
    }
}

/// A log as a reader needs it. The channel closes when the log is deleted.
#[derive(Debug)]
pub struct Opened {
    /// The folder of its segments.
    pub folder: PathBuf,
    /// How far it may be read.
    pub end: watch::Receiver<End>,
}

type Reply<T> = oneshot::Sender<Result<T, ScribeError>>;

enum Order {
    Append { batch: Batch, reply: Reply<()>, room: OwnedSemaphorePermit },
    Open { place: Place, reply: Reply<Opened> },
    Forget { app: AppName, reply: Reply<()> },
}

/// A cheap handle on the scribe.
#[derive(Clone)]
pub struct Scribe {
    orders: Sender<Order>,
    room: Arc<Semaphore>,
}

/// A scribe and its desk.
pub fn scribe(limits: Limits, clock: Clock, metrics: &Metrics) -> (Scribe, Desk) {
    let (sender, orders) = channel();
    let desk = Desk::new(orders, limits, clock, metrics);
    (Scribe { orders: sender, room: Arc::new(Semaphore::new(WAITING_KIB)) }, desk)
}

impl Scribe {
    /// Stores a batch; when this returns it is durable.
    pub async fn append(&self, batch: Batch) -> Result<(), ScribeError> {
        let kib = u32::try_from(batch.bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(kib.min(WAITING_KIB as u32));
        let room = tokio::time::timeout(ROOM_TIMEOUT, room).await.map_err(|_| ScribeError::Busy)?;
        let room = room.map_err(|_| ScribeError::Stopped)?;
        self.ask(|reply| Order::Append { batch, reply, room }).await
    }

    /// A log to read; it need not have lines yet.
    pub async fn open(&self, place: Place) -> Result<Opened, ScribeError> {
        self.ask(|reply| Order::Open { place, reply }).await
    }

    /// Deletes an app's lines, those of other nodes too.
    pub async fn forget(&self, app: AppName) -> Result<(), ScribeError> {
        self.ask(|reply| Order::Forget { app, reply }).await
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, ScribeError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).map_err(|_| ScribeError::Stopped)?;
        answer.await.map_err(|_| ScribeError::Stopped)?
    }
}
