//! The time without a quorum: the store's members cannot agree on anything, but the nearest one remembers.
//!
//! While there is doubt, reads are answered from what is remembered and marked as stale, and writes are refused at once.
//! The observer begins it, when the store cannot be listed, and ends it, when it can.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static IS_STALE: Cell<bool>;
}

/// Whether the store can be asked now. Clones are one.
#[derive(Clone, Default)]
pub struct Doubt(Arc<Mutex<Option<Instant>>>);

impl Doubt {
    /// Begins or ends it.
    pub fn set(&self, is_in_doubt: bool) {
        let mut since = self.since();
        match (is_in_doubt, *since) {
            (true, None) => {
                *since = Some(Instant::now());
                tracing::warn!("the store has no quorum: reads are stale, writes are refused");
            }
            (false, Some(_)) => {
                *since = None;
                tracing::info!("the store has its quorum again");
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether there is doubt.
    pub fn is_set(&self) -> bool {
        self.since().is_some()
    }

    /// For how long there has been doubt, if there is.
    pub fn lasts(&self) -> Option<Duration> {
        self.since().map(|since| since.elapsed())
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that something remembered was read, for whoever asked.
pub fn note_stale() {
    // Nobody asks to know in a task of our own.
    let _ = IS_STALE.try_with(|is_stale| is_stale.set(true));
}

/// Runs `work` and tells whether anything it read was only remembered.
pub async fn noting_stale<T>(work: impl Future<Output = T>) -> (T, bool) {
    let noting = async {
        let done = work.await;
        (done, IS_STALE.with(Cell::get))
    };
    IS_STALE.scope(Cell::new(false), noting).await
}

#[cfg(test)]
mod tests;
