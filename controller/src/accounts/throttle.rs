//! How often somebody may try to log in as a user.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Attempts that may fail in a row before waiting.
pub const MAX_ATTEMPTS: u32 = 10;
/// How long a name is then closed, and how long failures are remembered.
pub const WINDOW: Duration = Duration::from_secs(60);
/// The most names remembered; beyond it, the oldest is forgotten.
const MAX_NAMES: usize = 10_000;

/// Attempts by name. Memory only: a restart forgets them.
#[derive(Default)]
pub struct Throttle(Mutex<HashMap<String, Attempts>>);

struct Attempts {
    count: u32,
    since: Duration,
}

impl Throttle {
    /// Counts an attempt before it is made; the error is how long to wait.
    pub fn attempt(&self, name: &str, now: Duration) -> Result<(), Duration> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            forget_oldest(&mut names, now);
        }
        let attempts = names.entry(name.to_owned()).or_insert(Attempts { count: 0, since: now });
        if now.saturating_sub(attempts.since) >= WINDOW {
            *attempts = Attempts { count: 0, since: now };
        }
        if attempts.count >= MAX_ATTEMPTS {
            return Err(WINDOW.saturating_sub(now.saturating_sub(attempts.since)));
        }
        attempts.count += 1;
        Ok(())
    }

    /// An attempt went well: the name starts anew.
    pub fn succeeded(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

fn forget_oldest(names: &mut HashMap<String, Attempts>, now: Duration) {
    names.retain(|_, attempts| now.saturating_sub(attempts.since) < WINDOW);
    if names.len() >= MAX_NAMES {
        let oldest = names.iter().min_by_key(|(_, attempts)| attempts.since);
        if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
            names.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_closes_after_too_many_attempts_and_opens_again() {
        let throttle = Throttle::default();
        let start = Duration::from_secs(100);
        for _ in 0..MAX_ATTEMPTS {
            throttle.attempt("olga", start).unwrap();
        }
        assert_eq!(throttle.attempt("olga", start), Err(WINDOW));
        throttle.attempt("carl", start).unwrap();
        throttle.attempt("olga", start + WINDOW).unwrap();
    }

    #[test]
    fn a_success_forgets_failures() {
        let throttle = Throttle::default();
        for _ in 0..3 * MAX_ATTEMPTS {
            throttle.attempt("olga", Duration::ZERO).unwrap();
            throttle.succeeded("olga");
        }
    }
}
