//! Time as an argument: the machine's clock in programs, a clock moved by hand in tests and simulation.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A cheap handle on a source of time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { start: Instant },
    Manual(ManualClock),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock(Source::System { start: Instant::now() })
    }

    /// Wall-clock time in milliseconds since 1970. It may jump when the machine's clock is set.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual(manual) => manual.start_ms + manual.passed_ms(),
        }
    }

    /// Time since this clock was made; never jumps, never goes back. Only differences mean something.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(manual) => Duration::from_millis(manual.passed_ms()),
        }
    }

    /// How long ago `earlier` was, a value this clock's `monotonic` gave.
    pub fn since(&self, earlier: Duration) -> Duration {
        self.monotonic().saturating_sub(earlier)
    }
}

/// A clock that stands still until it is advanced; clones share the time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    start_ms: u64,
    passed_ms: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock standing at `start_ms` (milliseconds since 1970).
    pub fn new(start_ms: u64) -> ManualClock {
        ManualClock { start_ms, passed_ms: Arc::default() }
    }

    /// The handle to give to the code under test.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(self.clone()))
    }

    /// Moves time forward, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.passed_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    fn passed_ms(&self) -> u64 {
        self.passed_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_advanced() {
        let manual = ManualClock::new(1_000);
        let clock = manual.clock();
        let mark = clock.monotonic();
        assert_eq!(clock.now_ms(), 1_000);
        manual.advance(Duration::from_secs(2));
        assert_eq!((clock.now_ms(), clock.since(mark)), (3_000, Duration::from_secs(2)));
    }

    #[test]
    fn the_system_clock_tells_this_century() {
        let clock = Clock::system();
        assert!(clock.now_ms() > 1_700_000_000_000);
        let mark = clock.monotonic();
        assert!(clock.monotonic() >= mark);
    }
}
