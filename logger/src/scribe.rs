//! The only writer: one thread that takes batches from all senders, writes them, syncs many at once and then answers.
//!
//! A lone batch is synced at once. Under load the syncs keep a distance, and what arrives between two shares the second.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use model::name::AppName;
use rustix::io::Errno;
use service::{Clock, Counter, Gauge, Metrics, durable};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::{
    app_log::{AppLog, Origin},
    intake::Batch,
    segments::End,
};

/// The distance of two syncs under load.
const SYNC_PAUSE: Duration = Duration::from_millis(25);
/// So much written is synced without waiting for more.
const SYNC_BYTES: usize = 4 << 20;
/// What may wait for the writer, in KiB; further senders wait themselves.
const WAITING_KIB: usize = 16 << 10;
/// A sender waits so long for room, then it is told to come again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// Logs kept open; the one that was used longest ago and that nobody follows is closed.
const MAX_OPEN: usize = 256;
/// How often the disk's floor is looked at.
const FLOOR_PERIOD: Duration = Duration::from_secs(1);

/// Where and how much the scribe may write.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The folder of the apps' folders.
    pub folder: PathBuf,
    /// What one app's log may take.
    pub max_app_bytes: u64,
    /// Lines are refused while the disk has less than this free.
    pub min_free: u64,
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
    Open { app: AppName, reply: Reply<Opened> },
    Forget { app: AppName, reply: Reply<()> },
}

/// A cheap handle on the scribe.
#[derive(Clone)]
pub struct Scribe {
    orders: Sender<Order>,
    room: Arc<Semaphore>,
}

/// The scribe itself, to be run on a thread of its own until all handles are gone.
pub struct Desk {
    orders: Receiver<Order>,
    limits: Limits,
    clock: Clock,
    logs: HashMap<AppName, Open>,
    round: Round,
    synced: Duration,
    floor_checked: Option<Duration>,
    has_room: bool,
    numbers: Numbers,
}

struct Open {
    log: AppLog,
    used: Duration,
}

/// What was written since the last sync.
#[derive(Default)]
struct Round {
    bytes: usize,
    waiting: Vec<Waiting>,
    /// Logs of which nobody knows what the disk holds.
    lost: HashSet<AppName>,
}

struct Waiting {
    apps: Vec<AppName>,
    reply: Reply<()>,
    _room: OwnedSemaphorePermit,
}

struct Numbers {
    stored: Counter,
    repeated: Counter,
    refused: Counter,
    syncs: Counter,
    open: Gauge,
}

/// A scribe and its desk.
pub fn scribe(limits: Limits, clock: Clock, metrics: &Metrics) -> (Scribe, Desk) {
    let (sender, orders) = channel();
    let numbers = Numbers {
        stored: metrics.counter("logger_stored_lines_total", "Lines stored."),
        repeated: metrics.counter("logger_repeated_batches_total", "Batches that were here."),
        refused: metrics.counter("logger_refused_lines_total", "Lines refused: no room."),
        syncs: metrics.counter("logger_syncs_total", "Syncs of all written logs."),
        open: metrics.gauge("logger_open_logs", "Logs open for writing."),
    };
    let desk = Desk {
        orders,
        limits,
        clock,
        logs: HashMap::new(),
        round: Round::default(),
        synced: Duration::ZERO,
        floor_checked: None,
        has_room: true,
        numbers,
    };
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
    pub async fn open(&self, app: AppName) -> Result<Opened, ScribeError> {
        self.ask(|reply| Order::Open { app, reply }).await
    }

    /// Deletes an app's lines.
    pub async fn forget(&self, app: AppName) -> Result<(), ScribeError> {
        self.ask(|reply| Order::Forget { app, reply }).await
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, ScribeError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).map_err(|_| ScribeError::Stopped)?;
        answer.await.map_err(|_| ScribeError::Stopped)?
    }
}

impl Desk {
    /// Works until all handles are gone. Blocks.
    pub fn run(mut self) {
        while let Ok(order) = self.orders.recv() {
            self.take(order);
            self.gather();
            self.sync();
        }
    }

    /// Takes what else is waiting, and what comes until the next sync is due.
    fn gather(&mut self) {
        while self.round.bytes < SYNC_BYTES {
            let wait = SYNC_PAUSE.saturating_sub(self.clock.since(self.synced));
            match self.orders.recv_timeout(wait) {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, order: Order) {
        // Whoever asked may be gone; the work is done all the same.
        match order {
            Order::Append { batch, reply, room } => match self.append(batch) {
                Ok((bytes, apps)) => {
                    self.round.bytes += bytes;
                    self.round.waiting.push(Waiting { apps, reply, _room: room });
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Order::Open { app, reply } => {
                let opened = self
                    .log(&app)
                    .map(|log| Opened { folder: log.folder().to_owned(), end: log.subscribe() });
                drop(reply.send(opened));
            }
            Order::Forget { app, reply } => drop(reply.send(self.forget(&app))),
        }
    }

    fn append(&mut self, batch: Batch) -> Result<(usize, Vec<AppName>), ScribeError> {
        let lines: usize = batch.apps.values().map(Vec::len).sum();
        let Batch { source, sequence, apps, bytes } = batch;
        if !self.has_room() {
            self.numbers.refused.add(lines as u64);
            return Err(ScribeError::DiskFull);
        }
        let received_ms = self.clock.now_ms();
        let origin = Origin { source: &source, sequence, received_ms };
        let names = apps.keys().cloned().collect();
        for (app, lines) in apps {
            let count = lines.len() as u64;
            let log = self.log(&app)?;
            match log.append(origin, lines) {
                Ok(true) => self.numbers.stored.add(count),
                Ok(false) => self.numbers.repeated.add(1),
                Err(error) => {
                    self.numbers.refused.add(count);
                    let error = ScribeError::from(error);
                    tracing::warn!(app = app.as_str(), %error, "lines were not stored");
                    self.repair(&app);
                    return Err(error);
                }
            }
        }
        Ok((bytes, names))
    }

    /// Syncs every log that was written and answers those who wait for it.
    fn sync(&mut self) {
        if self.round.waiting.is_empty() && !self.logs.values().any(|open| open.log.is_dirty()) {
            return;
        }
        let mut failed = Vec::new();
        for (app, open) in self.logs.iter_mut().filter(|(_, open)| open.log.is_dirty()) {
            if let Err(error) = open.log.sync() {
                tracing::error!(app = app.as_str(), %error, "a log could not be synced");
                failed.push(app.clone());
            }
        }
        for app in failed {
            self.repair(&app);
            self.round.lost.insert(app);
        }
        self.numbers.syncs.add(1);
        self.synced = self.clock.monotonic();
        let Round { waiting, lost, .. } = std::mem::take(&mut self.round);
        for Waiting { apps, reply, .. } in waiting {
            let is_lost = apps.iter().any(|app| lost.contains(app));
            drop(reply.send(if is_lost { Err(ScribeError::Io) } else { Ok(()) }));
        }
    }

    /// After a failure: what the disk holds now is read from it. If that fails too, the next use opens the log anew.
    fn repair(&mut self, app: &AppName) {
        let reopened = self.logs.get_mut(app).map(|open| open.log.reopen());
        if let Some(Err(error)) = reopened {
            tracing::error!(app = app.as_str(), %error, "a log could not be read back");
            self.logs.remove(app);
            self.round.lost.insert(app.clone());
        }
    }

    fn forget(&mut self, app: &AppName) -> Result<(), ScribeError> {
        self.log(app)?;
        let forgotten = self.logs.remove(app).map(|open| open.log.delete());
        self.numbers.open.set(self.logs.len() as i64);
        Ok(forgotten.unwrap_or(Ok(()))?)
    }

    fn log(&mut self, app: &AppName) -> Result<&mut AppLog, ScribeError> {
        let used = self.clock.monotonic();
        if !self.logs.contains_key(app) {
            self.close_one();
            let folder = self.limits.folder.join(app.as_str());
            let log = AppLog::open(folder, self.limits.max_app_bytes)?;
            self.logs.insert(app.clone(), Open { log, used });
            self.numbers.open.set(self.logs.len() as i64);
        }
        let open = self.logs.get_mut(app).expect("it was just inserted");
        open.used = used;
        Ok(&mut open.log)
    }

    /// Makes room for another open log.
    fn close_one(&mut self) {
        if self.logs.len() < MAX_OPEN {
            return;
        }
        let closable =
            self.logs.iter().filter(|(_, open)| !open.log.is_dirty() && !open.log.is_followed());
        let oldest = closable.min_by_key(|(_, open)| open.used).map(|(app, _)| app.clone());
        if let Some(oldest) = oldest {
            self.logs.remove(&oldest);
        }
    }

    fn has_room(&mut self) -> bool {
        let is_fresh = self.floor_checked.is_some_and(|then| self.clock.since(then) < FLOOR_PERIOD);
        if !is_fresh {
            self.floor_checked = Some(self.clock.monotonic());
            let free = durable::free_bytes(&self.limits.folder).unwrap_or(0);
            let has_room = free >= self.limits.min_free;
            if has_room != self.has_room {
                tracing::warn!(free, has_room, "the disk's floor was crossed");
            }
            self.has_room = has_room;
        }
        self.has_room
    }
}
