//! When a unit is asked how it is, and what its answers mean. The state machine is pure; [`Watch`] runs it.

use std::{sync::Arc, time::Duration};

use model::release::{Check, Probe};
use service::Clock;

use crate::runtime::{Runtime, Target};

/// Between questions to a unit that has just started.
const EAGER: Duration = Duration::from_millis(50);
/// The same for commands run inside the container, which cost much more.
const EAGER_EXEC: Duration = Duration::from_millis(500);
/// For how long questions are that dense.
const EAGER_FOR: Duration = Duration::from_secs(10);
/// Between questions after that, until the unit is ready or its grace is over.
const PATIENT: Duration = Duration::from_millis(500);
/// A unit whose check asks nothing is well when it has run for this long.
const SETTLED: Duration = Duration::from_secs(1);

/// The state of one unit's check.
#[derive(Debug, Clone)]
pub struct Health {
    check: Check,
    passes: u32,
    failures: u32,
    is_ready: bool,
}

/// What an answer led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The unit became ready.
    Ready,
    /// It must be restarted.
    Failed {
        /// Why, in the user's words.
        reason: String,
    },
}

impl Health {
    /// Nothing was asked yet.
    pub fn new(check: Check) -> Health {
        Health { check, passes: 0, failures: 0, is_ready: false }
    }

    /// How long to wait before the next question to a unit of this age.
    pub fn pause(&self, age: Duration) -> Duration {
        let period = Duration::from_millis(self.check.period_ms).max(EAGER);
        if matches!(self.check.probe, Probe::Running) {
            return SETTLED.saturating_sub(age);
        }
        let eager = match self.check.probe {
            Probe::Exec { .. } => EAGER_EXEC,
            Probe::Http { .. } | Probe::Tcp | Probe::Running => EAGER,
        };
        if self.is_ready || self.is_grace_over(age) {
            period
        } else if age < EAGER_FOR {
            period.min(eager)
        } else {
            period.min(PATIENT.max(eager))
        }
    }

    /// Whether the next question is needed at all.
    pub fn is_done(&self) -> bool {
        self.is_ready && matches!(self.check.probe, Probe::Running)
    }

    /// Takes the answer of a unit of this age.
    pub fn take(&mut self, age: Duration, answer: Result<(), String>) -> Option<Verdict> {
        match answer {
            Ok(()) => {
                self.failures = 0;
                self.passes = self.passes.saturating_add(1);
                let is_risen = !self.is_ready && self.passes >= self.check.rise;
                self.is_ready |= is_risen;
                is_risen.then_some(Verdict::Ready)
            }
            Err(error) => {
                self.passes = 0;
                // A unit that was ready has shown that it can be.
                if !self.is_ready && !self.is_grace_over(age) {
                    return None;
                }
                self.failures = self.failures.saturating_add(1);
                (self.failures >= self.check.fall.max(1)).then(|| Verdict::Failed {
                    reason: format!("failed its health check {} times: {error}", self.failures),
                })
            }
        }
    }

    fn is_grace_over(&self, age: Duration) -> bool {
        age >= Duration::from_millis(self.check.grace_ms)
    }
}

/// What is watched.
#[derive(Debug, Clone)]
pub struct Patient {
    /// Its container.
    pub container: String,
    /// `host:port`.
    pub address: String,
    /// Its check.
    pub check: Check,
    /// How old it was when the watch began.
    pub age: Duration,
}

/// A check being made. It asks only while [`Watch::next`] is awaited.
pub struct Watch {
    runtime: Arc<dyn Runtime>,
    clock: Clock,
    began: Duration,
    age: Duration,
    target: Target,
    health: Health,
    pause: Duration,
    has_failed: bool,
}

impl Watch {
    /// A check from now on.
    pub fn new(runtime: Arc<dyn Runtime>, clock: Clock, patient: Patient) -> Watch {
        let Patient { container, address, check, age } = patient;
        let timeout = Duration::from_millis(check.timeout_ms.max(1));
        let target = Target { container, address, probe: check.probe.clone(), timeout };
        let health = Health::new(check);
        // The first question comes at once: a unit found running is most likely well.
        let pause = match target.probe {
            Probe::Running => health.pause(age),
            Probe::Http { .. } | Probe::Tcp | Probe::Exec { .. } => Duration::ZERO,
        };
        let began = clock.monotonic();
        Watch { runtime, clock, began, age, target, health, pause, has_failed: false }
    }

    /// Asks until there is something to tell; none when there will be nothing more.
    pub async fn next(&mut self) -> Option<Verdict> {
        while !self.has_failed && !self.health.is_done() {
            tokio::time::sleep(self.pause).await;
            let answer = match self.target.probe {
                Probe::Running => Ok(()),
                Probe::Http { .. } | Probe::Tcp | Probe::Exec { .. } => {
                    self.runtime.probe(&self.target).await
                }
            };
            let age = self.age + self.clock.since(self.began);
            let verdict = self.health.take(age, answer);
            self.pause = self.health.pause(age);
            if verdict.is_some() {
                self.has_failed = matches!(verdict, Some(Verdict::Failed { .. }));
                return verdict;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(probe: Probe) -> Check {
        Check { probe, grace_ms: 2_000, period_ms: 5_000, timeout_ms: 1_000, rise: 2, fall: 3 }
    }

    const YOUNG: Duration = Duration::from_millis(100);
    const GROWN: Duration = Duration::from_secs(60);

    fn no() -> Result<(), String> {
        Err("connection refused".to_owned())
    }

    #[test]
    fn a_unit_is_ready_after_enough_successes_in_a_row() {
        let mut health = Health::new(check(Probe::Tcp));
        assert_eq!(health.take(YOUNG, Ok(())), None);
        assert_eq!(health.take(YOUNG, no()), None);
        assert_eq!(health.take(YOUNG, Ok(())), None);
        assert_eq!(health.take(YOUNG, Ok(())), Some(Verdict::Ready));
        assert_eq!(health.take(YOUNG, Ok(())), None, "it is told once");
    }

    #[test]
    fn failures_do_not_count_during_grace_and_then_do() {
        let mut health = Health::new(check(Probe::Tcp));
        for _ in 0..100 {
            assert_eq!(health.take(YOUNG, no()), None);
        }
        assert_eq!(health.take(GROWN, no()), None);
        assert_eq!(health.take(GROWN, no()), None);
        let reason = "failed its health check 3 times: connection refused".to_owned();
        assert_eq!(health.take(GROWN, no()), Some(Verdict::Failed { reason }));
    }

    #[test]
    fn a_ready_unit_fails_even_during_grace_but_only_by_failures_in_a_row() {
        let mut health = Health::new(Check { rise: 1, ..check(Probe::Tcp) });
        assert_eq!(health.take(YOUNG, Ok(())), Some(Verdict::Ready));
        assert_eq!(health.take(YOUNG, no()), None);
        assert_eq!(health.take(YOUNG, no()), None);
        assert_eq!(health.take(YOUNG, Ok(())), None);
        assert_eq!(health.take(YOUNG, no()), None);
        assert_eq!(health.take(YOUNG, no()), None);
        assert!(matches!(health.take(YOUNG, no()), Some(Verdict::Failed { .. })));
    }

    #[test]
    fn questions_are_dense_until_ready_and_then_follow_the_period() {
        let mut health = Health::new(Check { rise: 1, grace_ms: 60_000, ..check(Probe::Tcp) });
        assert_eq!(health.pause(YOUNG), EAGER);
        assert_eq!(health.pause(Duration::from_secs(30)), PATIENT);
        assert_eq!(health.pause(GROWN), Duration::from_secs(5));
        health.take(YOUNG, Ok(()));
        assert_eq!(health.pause(YOUNG), Duration::from_secs(5));
        let exec = Health::new(check(Probe::Exec { command: vec!["true".to_owned()] }));
        assert_eq!(exec.pause(YOUNG), EAGER_EXEC);
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_without_questions_is_ready_when_it_has_run_for_a_second() {
        let runtime = Arc::new(crate::runtime::fake::FakeRuntime::new());
        let manual = service::ManualClock::new(0);
        let patient = Patient {
            container: "c".to_owned(),
            address: "10.0.0.1:5000".to_owned(),
            check: Check { rise: 1, ..check(Probe::Running) },
            age: Duration::ZERO,
        };
        let began = tokio::time::Instant::now();
        let mut watch = Watch::new(runtime, manual.clock(), patient);
        assert_eq!(watch.next().await, Some(Verdict::Ready));
        assert_eq!((watch.next().await, began.elapsed()), (None, SETTLED));
    }
}
