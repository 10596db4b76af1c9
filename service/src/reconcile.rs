//! The driver of every reconcile loop: runs one pass at a time, on a period or when woken, and backs off on errors.
//!
//! A wake-up carries no data: a pass reads everything anew, so a lost or doubled wake-up changes nothing.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::Stop;

/// The wait after a first failed pass; it doubles with each further failure.
pub const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// When a loop runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The longest time between the end of a pass and the start of the next.
    pub period: Duration,
    /// The shortest time between them, however often the loop is woken.
    pub min_gap: Duration,
    /// The longest wait after failed passes.
    pub backoff_max: Duration,
}

/// The handle of one loop: kicks it, and tells how it does. Kicks made while a pass runs lead to one more pass.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kicked: Notify,
    status: Mutex<Status>,
}

/// How a loop has been doing.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Passes that ended, well or not.
    pub passes: u64,
    /// Failed passes since the last good one.
    pub failures_in_row: u32,
    /// The last failure's message; none after a good pass.
    pub last_error: Option<String>,
    /// When a pass last ended well.
    pub last_success: Option<Instant>,
}

impl Wake {
    /// A handle for one loop.
    pub fn new() -> Wake {
        Wake::default()
    }

    /// Asks for a pass soon.
    pub fn kick(&self) {
        self.0.kicked.notify_one();
    }

    /// How the loop has been doing.
    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    /// A check for the admin endpoint: fails while the last pass failed or none has ended yet.
    pub fn check(&self) -> Result<(), String> {
        let status = self.lock();
        match &status.last_error {
            Some(error) => {
                Err(format!("{} passes failed in a row: {error}", status.failures_in_row))
            }
            None if status.passes == 0 => Err("no pass has ended yet".to_owned()),
            None => Ok(()),
        }
    }

    fn record(&self, error: Option<String>) -> u32 {
        let mut status = self.lock();
        status.passes += 1;
        match error {
            Some(_) => status.failures_in_row = status.failures_in_row.saturating_add(1),
            None => {
                status.failures_in_row = 0;
                status.last_success = Some(Instant::now());
            }
        }
        status.last_error = error;
        status.failures_in_row
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `pass` at once and then on every period, kick or end of a backoff, until `stop`. A running pass is never cut off.
pub async fn drive<E: Display>(
    name: &'static str,
    options: Options,
    wake: Wake,
    stop: Stop,
    mut pass: impl AsyncFnMut() -> Result<(), E>,
) {
    while !stop.is_set() {
        let error = pass().await.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::warn!(reconcile = name, error, "pass failed");
        }
        let failures = wake.record(error);
        let gap = gap(&options, failures);
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = tokio::time::sleep(gap) => {}
        }
        if failures > 0 {
            continue;
        }
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = wake.0.kicked.notified() => {}
            () = tokio::time::sleep(options.period.saturating_sub(gap)) => {}
        }
    }
}

/// How long to leave the loop alone after a pass.
fn gap(options: &Options, failures: u32) -> Duration {
    if failures == 0 {
        return options.min_gap;
    }
    let doubled = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures - 1));
    doubled.min(options.backoff_max).max(options.min_gap)
}

#[cfg(test)]
mod tests;
