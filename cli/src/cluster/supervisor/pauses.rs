//! How long to wait before something that ended is started again.

use std::time::Duration;

/// Whatever ran for this long has earned a fresh start.
const STEADY: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST_SECONDS: u64 = 10;

/// Counts the ends in a row: 100 ms, then 1 s, 2 s and so on to 10 s.
#[derive(Debug, Default)]
pub struct Pauses {
    ends: u64,
}

impl Pauses {
    /// The pause after an end that came this long after the start.
    pub fn after(&mut self, uptime: Duration) -> Duration {
        if uptime >= STEADY {
            self.ends = 0;
        }
        let pause = match self.ends {
            0 => FIRST,
            ends => Duration::from_secs(ends.min(LONGEST_SECONDS)),
        };
        self.ends += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_never_end() {
        let mut pauses = Pauses::default();
        let millis: Vec<u128> = (0..13).map(|_| pauses.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(millis[..4], [100, 1000, 2000, 3000]);
        assert_eq!(millis[9..], [9000, 10000, 10000, 10000]);
    }

    #[test]
    fn a_steady_minute_is_forgiven() {
        let mut pauses = Pauses::default();
        for _ in 0..5 {
            pauses.after(Duration::from_secs(59));
        }
        assert_eq!(pauses.after(Duration::from_secs(60)), FIRST);
        assert_eq!(pauses.after(Duration::ZERO), Duration::from_secs(1));
    }
}
