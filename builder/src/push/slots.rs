//! How many builds run at one time; the others wait in line and say so.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::output::Output;

/// A line of builds, first come first served.
pub struct Slots {
    free: Arc<Semaphore>,
    parallel: usize,
    waiting: Arc<AtomicUsize>,
}

impl Slots {
    /// Room for this many.
    pub fn new(parallel: usize) -> Slots {
        let free = Arc::new(Semaphore::new(parallel));
        Slots { free, parallel, waiting: Arc::default() }
    }

    /// Waits for a place; the build has it until the permit is dropped.
    pub async fn take(&self, output: &Output) -> OwnedSemaphorePermit {
        if let Ok(slot) = self.free.clone().try_acquire_owned() {
            return slot;
        }
        let waiting = Waiting::begin(&self.waiting);
        let line = format!(
            "Waiting in line: {} builds are running, {} wait before this one",
            self.parallel, waiting.before
        );
        output.step(&line).await;
        self.free.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}

/// Counts a waiting build for as long as it waits, also when it is cut off.
struct Waiting {
    count: Arc<AtomicUsize>,
    before: usize,
}

impl Waiting {
    fn begin(count: &Arc<AtomicUsize>) -> Waiting {
        let before = count.fetch_add(1, Ordering::SeqCst);
        Waiting { count: count.clone(), before }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}
