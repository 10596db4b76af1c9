//! The scribe's thread: takes orders, writes, and syncs what many senders wait for at once.

use std::{
    collections::HashSet,
    mem,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use service::{Clock, Counter, Metrics, durable};
use tokio::sync::OwnedSemaphorePermit;

use super::{Limits, Opened, Order, Place, Reply, ScribeError, shelf::Shelf};
use crate::{app_log::Origin, intake::Batch};

/// The distance of two syncs under load.
const SYNC_PAUSE: Duration = Duration::from_millis(25);
/// So much written is synced without waiting for more.
const SYNC_BYTES: usize = 4 << 20;
/// How often the disk's floor is looked at.
const FLOOR_PERIOD: Duration = Duration::from_secs(1);

/// The scribe itself, to be run on a thread of its own until all handles are gone.
pub struct Desk {
    orders: Receiver<Order>,
    clock: Clock,
    shelf: Shelf,
    floor: Floor,
    round: Round,
    synced: Duration,
    numbers: Numbers,
}

/// What was written since the last sync.
#[derive(Default)]
struct Round {
    bytes: usize,
    waiting: Vec<Waiting>,
    /// Logs of which nobody knows what the disk holds.
    lost: HashSet<Place>,
}

struct Waiting {
    places: Vec<Place>,
    reply: Reply<()>,
    _room: OwnedSemaphorePermit,
}

struct Numbers {
    stored: Counter,
    repeated: Counter,
    refused: Counter,
    syncs: Counter,
}

impl Desk {
    pub(super) fn new(
        orders: Receiver<Order>,
        limits: Limits,
        clock: Clock,
        metrics: &Metrics,
    ) -> Desk {
        let floor = Floor::new(&limits);
        let numbers = Numbers {
            stored: metrics.counter("logger_stored_lines_total", "Lines stored."),
            repeated: metrics.counter("logger_repeated_batches_total", "Batches that were here."),
            refused: metrics.counter("logger_refused_lines_total", "Lines refused: no room."),
            syncs: metrics.counter("logger_syncs_total", "Syncs of all written logs."),
        };
        let open = metrics.gauge("logger_open_logs", "Logs open for writing.");
        let shelf = Shelf::new(limits, clock.clone(), open);
        let (round, synced) = (Round::default(), Duration::ZERO);
        Desk { orders, clock, shelf, floor, round, synced, numbers }
    }

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
                Ok((bytes, places)) => {
                    self.round.bytes += bytes;
                    self.round.waiting.push(Waiting { places, reply, _room: room });
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Order::Open { place, reply } => {
                let opened = self
                    .shelf
                    .log(&place)
                    .map(|log| Opened { folder: log.folder().to_owned(), end: log.subscribe() });
                drop(reply.send(opened));
            }
            Order::Forget { app, reply } => drop(reply.send(self.shelf.forget(&app))),
        }
    }

    fn append(&mut self, batch: Batch) -> Result<(usize, Vec<Place>), ScribeError> {
        let lines: usize = batch.apps.values().map(Vec::len).sum();
        let Batch { origin: node, source, sequence, apps, bytes } = batch;
        if !self.floor.has_room(&self.clock) {
            self.numbers.refused.add(lines as u64);
            return Err(ScribeError::DiskFull);
        }
        let received_ms = self.clock.now_ms();
        let origin = Origin { source: &source, sequence, received_ms };
        let mut places = Vec::new();
        for (app, lines) in apps {
            let count = lines.len() as u64;
            let place = Place { origin: node.clone(), app };
            match self.shelf.log(&place)?.append(origin, lines) {
                Ok(true) => self.numbers.stored.add(count),
                Ok(false) => self.numbers.repeated.add(1),
                Err(error) => {
                    self.numbers.refused.add(count);
                    tracing::warn!(app = place.app.as_str(), %error, "lines were not stored");
                    self.repair(&place);
                    return Err(error.into());
                }
            }
            places.push(place);
        }
        Ok((bytes, places))
    }

    /// Syncs every log that was written and answers those who wait for it.
    fn sync(&mut self) {
        for place in self.shelf.sync() {
            self.repair(&place);
            self.round.lost.insert(place);
        }
        let Round { waiting, lost, .. } = mem::take(&mut self.round);
        if waiting.is_empty() {
            return;
        }
        self.numbers.syncs.add(1);
        self.synced = self.clock.monotonic();
        for Waiting { places, reply, .. } in waiting {
            let is_lost = places.iter().any(|place| lost.contains(place));
            drop(reply.send(if is_lost { Err(ScribeError::Io) } else { Ok(()) }));
        }
    }

    /// After a failure: what the disk holds now is read from it.
    fn repair(&mut self, place: &Place) {
        if !self.shelf.repair(place) {
            self.round.lost.insert(place.clone());
        }
    }
}

/// Whether the disk has room, asked now and then.
struct Floor {
    folder: PathBuf,
    min_free: u64,
    checked: Option<Duration>,
    has_room: bool,
}

impl Floor {
    fn new(limits: &Limits) -> Floor {
        let (folder, min_free) = (limits.folder.clone(), limits.min_free);
        Floor { folder, min_free, checked: None, has_room: true }
    }

    fn has_room(&mut self, clock: &Clock) -> bool {
        if self.checked.is_some_and(|then| clock.since(then) < FLOOR_PERIOD) {
            return self.has_room;
        }
        self.checked = Some(clock.monotonic());
        let free = durable::free_bytes(&self.folder).unwrap_or(0);
        let has_room = free >= self.min_free;
        if has_room != self.has_room {
            tracing::warn!(free, has_room, "the disk's floor was crossed");
        }
        self.has_room = has_room;
        has_room
    }
}
