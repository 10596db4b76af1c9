//! Idle connections to one unit, and the rule that says which of them a request may use.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::connection::Connection;

/// More idle connections to one unit than this are closed.
pub const MAX_IDLE: usize = 128;

/// A request that must not be sent twice takes a connection only after it was idle for this long: some servers close
/// right after an answer without saying so, and by then that is seen.
const SETTLED_AFTER: Duration = Duration::from_millis(10);
/// And for no longer than this: the shortest keep-alive limit in common use (gunicorn's) is 2 s.
const SETTLED_UNTIL: Duration = Duration::from_secs(1);

/// Whether a request may be sent again when its connection breaks before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// Idempotent and without body.
    Repeatable,
    /// Only one unit may ever see it.
    Once,
}

/// The idle connections of one unit.
#[derive(Debug, Default)]
pub struct Pool {
    shelf: Mutex<Shelf>,
    /// A connection was seen open after all the time in which a request that must not be sent twice may take one.
    /// Until then such requests get new connections.
    keeps_long: AtomicBool,
    /// The unit was seen to close one within that time. From then on such requests get new ones.
    closes_early: AtomicBool,
}

#[derive(Debug, Default)]
struct Shelf {
    idle: Vec<Idle>,
    is_closed: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Duration,
}

impl Pool {
    /// An open connection for a request, if there is one that fits.
    pub fn take(&self, sending: Sending, now: Duration, limit: Duration) -> Option<Connection> {
        if sending == Sending::Once && !self.is_trusted() {
            return None;
        }
        let mut shelf = self.lock();
        // The most recently used one is the least likely to be closed by the unit.
        for index in (0..shelf.idle.len()).rev() {
            let idle = &shelf.idle[index];
            let idle_for = now.saturating_sub(idle.since);
            if idle.connection.is_busy() || !may_use(sending, idle_for, limit) {
                continue;
            }
            let taken = shelf.idle.remove(index);
            if taken.connection.is_open() {
                return Some(taken.connection);
            }
            self.closed_after(idle_for);
            if sending == Sending::Once && !self.is_trusted() {
                return None;
            }
        }
        None
    }

    /// Whether the unit is known to keep idle connections for as long as it takes.
    fn is_trusted(&self) -> bool {
        self.keeps_long.load(Ordering::Relaxed) && !self.closes_early.load(Ordering::Relaxed)
    }

    /// Notes that the unit closed a connection that had been idle for this long.
    fn closed_after(&self, idle_for: Duration) {
        if idle_for < SETTLED_UNTIL {
            self.closes_early.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a connection taken from here broke before an answer.
    pub fn broke(&self) {
        self.closes_early.store(true, Ordering::Relaxed);
    }

    /// Keeps a connection whose answer has been read to its end.
    pub fn put(&self, connection: Connection, now: Duration) {
        let mut shelf = self.lock();
        if shelf.is_closed {
            return;
        }
        if shelf.idle.len() >= MAX_IDLE {
            shelf.idle.remove(0);
        }
        shelf.idle.push(Idle { connection, since: now });
    }

    /// Closes connections that were idle for too long or that the unit closed, and learns how long it keeps them.
    pub fn sweep(&self, now: Duration, limit: Duration) {
        self.lock().idle.retain(|idle| {
            let idle_for = now.saturating_sub(idle.since);
            if idle.connection.is_closed() {
                self.closed_after(idle_for);
                return false;
            }
            if idle_for >= SETTLED_UNTIL && idle.connection.is_open() {
                self.keeps_long.store(true, Ordering::Relaxed);
            }
            idle_for < limit
        });
    }

    /// Closes all.
    pub fn clear(&self) {
        self.lock().idle.clear();
    }

    /// Closes all and keeps none any more: the unit is to see that nobody needs it.
    pub fn close(&self) {
        *self.lock() = Shelf { idle: Vec::new(), is_closed: true };
    }

    /// Keeps connections again.
    pub fn open(&self) {
        self.lock().is_closed = false;
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn may_use(sending: Sending, idle_for: Duration, limit: Duration) -> bool {
    match sending {
        Sending::Repeatable => idle_for < limit,
        Sending::Once => (SETTLED_AFTER..SETTLED_UNTIL.min(limit)).contains(&idle_for),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_must_not_be_repeated_takes_only_settled_connections() {
        let ms = Duration::from_millis;
        let limit = ms(3_000);
        for (idle_ms, repeatable, once) in [
            (0, true, false),
            (9, true, false),
            (10, true, true),
            (999, true, true),
            (1_000, true, false),
            (2_999, true, false),
            (3_000, false, false),
        ] {
            let allowed = [Sending::Repeatable, Sending::Once]
                .map(|sending| may_use(sending, ms(idle_ms), limit));
            assert_eq!(allowed, [repeatable, once], "{idle_ms} ms");
        }
        assert!(!may_use(Sending::Once, ms(60), ms(50)), "the limit holds for all");
    }
}
