//! What happened, line by line, and what should not have: two runs of one seed tell the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// A cheap handle on the lines.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<State>>);

struct State {
    start: Instant,
    lines: Vec<String>,
    broken: Option<String>,
}

impl Trace {
    /// Nothing yet.
    pub fn new() -> Trace {
        let state = State { start: Instant::now(), lines: Vec::new(), broken: None };
        Trace(Arc::new(Mutex::new(state)))
    }

    /// Time since the beginning.
    pub fn passed_ms(&self) -> u64 {
        self.lock().start.elapsed().as_millis() as u64
    }

    /// Something happened.
    pub fn say(&self, text: impl AsRef<str>) {
        let mut state = self.lock();
        let at = state.start.elapsed().as_millis();
        state.lines.push(format!("{:>4}.{:03} {}", at / 1000, at % 1000, text.as_ref()));
    }

    /// An invariant does not hold. The first counts.
    pub fn breaks(&self, invariant: &str, how: impl AsRef<str>) {
        let text = format!("BROKEN {invariant}: {}", how.as_ref());
        self.say(&text);
        self.lock().broken.get_or_insert(text);
    }

    /// The first broken invariant.
    pub fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
