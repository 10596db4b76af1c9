//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long any condition may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// Asks again until there is an answer; panics with `what` after the deadline.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
