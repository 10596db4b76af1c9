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
    Steady(Steady),
    Manual(ManualClock),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock(Source::System { start: Instant::now() })
    }

    /// A clock that reads the machine's once and then goes on evenly, whatever is done to the machine's. It can be made
    /// to follow another's ([`Clock::follow`]), and stands still where tokio's time does.
    pub fn steady() -> Clock {
        let start_ms = Clock::system().now_ms();
        Clock::steady_from(start_ms)
    }

    /// As [`Clock::steady`], from a given moment on.
    pub fn steady_from(start_ms: u64) -> Clock {
        let ahead_ms = Arc::new(AtomicU64::new(start_ms));
        Clock(Source::Steady(Steady { start: tokio::time::Instant::now(), ahead_ms }))
    }

    /// Makes a steady clock, and all its clones, show `now_ms` now. Its monotonic time is not touched.
    pub fn follow(&self, now_ms: u64) {
        if let Source::Steady(steady) = &self.0 {
            steady.ahead_ms.store(now_ms.wrapping_sub(steady.passed_ms()), Ordering::SeqCst);
        }
    }

    /// Wall-clock time in milliseconds since 1970. The machine's may jump when it is set.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Steady(steady) => {
                steady.ahead_ms.load(Ordering::SeqCst).wrapping_add(steady.passed_ms())
            }
            Source::Manual(manual) => manual.start_ms + manual.passed_ms(),
        }
    }

    /// Time since this clock was made; never jumps, never goes back. Only differences mean something.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Steady(steady) => steady.start.elapsed(),
            Source::Manual(manual) => Duration::from_millis(manual.passed_ms()),
        }
    }

    /// How long ago `earlier` was, a value this clock's `monotonic` gave.
    pub fn since(&self, earlier: Duration) -> Duration {
        self.monotonic().saturating_sub(earlier)
    }
}

/// When it was made, and what it would have shown at its start.
#[derive(Debug, Clone)]
struct Steady {
    start: tokio::time::Instant,
    ahead_ms: Arc<AtomicU64>,
}

impl Steady {
    fn passed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
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

    #[tokio::test(start_paused = true)]
    async fn a_steady_clock_follows_another_and_its_clones_with_it() {
        let clock = Clock::steady_from(5_000);
        let clone = clock.clone();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clone.now_ms(), 6_000);
        clock.follow(2_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((clone.now_ms(), clone.monotonic()), (3_000, Duration::from_secs(2)));
    }

    #[test]
    fn the_system_clock_tells_this_century() {
        let clock = Clock::system();
        assert!(clock.now_ms() > 1_700_000_000_000);
        let mark = clock.monotonic();
        assert!(clock.monotonic() >= mark);
    }
}
