//! What the agent remembers of one unit, and how that changes with each thing that happens to it. Pure.
//!
//! ```text
//!   Assigned ──start──► Pulling ─► Starting ──started──► Running ──healthy──► Ready
//!      ▲                    └──── failed ────┐              └── ended, unhealthy ─┤
//!      └──────────── pause over ────────── Backoff ◄─────────────────────────────┘
//!   any ──told to stop──► Stopping ──nothing left──► Gone        run once: ended ──► Finished
//! ```

use std::collections::BTreeSet;

use model::{
    time::Time,
    unit::{Phase, Trouble, UnitKind, UnitStatus},
};

use crate::runtime::{Container, Ending};

/// The first pause before a unit is started again; it doubles.
pub const FIRST_BACKOFF_MS: u64 = 1_000;
/// The longest.
pub const MAX_BACKOFF_MS: u64 = 60_000;
/// A unit that was ready for this long starts from the first pause again.
pub const STEADY_MS: u64 = 60_000;
/// A command that runs once is given up when it could not be started this often.
const RUN_ONCE_TRIES: u32 = 3;

/// Everything remembered of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub since: Time,
    /// The container that is its life now.
    pub container: Option<String>,
    /// `host:port` where it serves.
    pub address: Option<String>,
    /// `host:port` where other nodes reach it.
    pub published: Option<String>,
    /// The newest attempt whose end was recorded.
    pub ended_attempt: u32,
    /// Starts after the first.
    pub restarts: u32,
    /// Failures since it was last steady.
    pub failures: u32,
    /// Not started again before.
    pub retry_at: Option<Time>,
    /// How it last failed.
    pub trouble: Option<Trouble>,
    /// When its last container was stopped on purpose.
    pub stopped_at: Option<Time>,
    /// Its check failed: it must be stopped and started again. The reason.
    pub unhealthy: Option<String>,
    /// Containers that are being ended because the fence fell.
    pub fencing: BTreeSet<String>,
    /// Steps being carried out; until they end no others are begun.
    pub pending: u32,
}

impl Memory {
    /// Nothing has happened yet.
    pub fn new(now: Time) -> Memory {
        Memory {
            phase: Phase::Assigned,
            since: now,
            container: None,
            address: None,
            published: None,
            ended_attempt: 0,
            restarts: 0,
            failures: 0,
            retry_at: None,
            trouble: None,
            stopped_at: None,
            unhealthy: None,
            fencing: BTreeSet::new(),
            pending: 0,
        }
    }

    /// Whether steps are being carried out.
    pub fn is_busy(&self) -> bool {
        self.pending > 0
    }

    /// What the controller is told.
    pub fn status(&self) -> UnitStatus {
        UnitStatus {
            phase: self.phase,
            address: self.address.clone(),
            published: self.published.clone(),
            restarts: self.restarts,
            since: self.since,
            trouble: self.trouble.clone(),
        }
    }

    /// Enters a phase; staying in it keeps its time.
    pub fn enter(&mut self, phase: Phase, now: Time) {
        if self.phase != phase {
            (self.phase, self.since) = (phase, now);
        }
    }

    /// A container runs: one that was just started, or one found running.
    pub fn runs(&mut self, container: &Container, port: u16, now: Time) {
        let is_known = self.container.as_ref() == Some(&container.id);
        self.address = container.reach.ip.as_ref().map(|ip| format!("{ip}:{port}"));
        self.published.clone_from(&container.reach.published);
        self.container = Some(container.id.clone());
        self.restarts = self.restarts.max(container.attempt.saturating_sub(1));
        self.retry_at = None;
        if !is_known {
            self.unhealthy = None;
            (self.phase, self.since) = (Phase::Running, now);
        }
    }

    /// Its check passed often enough.
    pub fn healthy(&mut self, now: Time) {
        if self.phase == Phase::Running {
            self.enter(Phase::Ready, now);
        }
    }

    /// Its check failed too often: it counts as down from now on, and its container must end.
    pub fn unwell(&mut self, reason: String, last_lines: Vec<String>, now: Time) {
        if !matches!(self.phase, Phase::Running | Phase::Ready) {
            return;
        }
        self.forget_old_failures(now);
        self.enter(Phase::Backoff, now);
        self.trouble = Some(Trouble {
            reason: reason.clone(),
            code: UNHEALTHY.to_owned(),
            at: now,
            last_lines,
        });
        self.unhealthy = Some(reason);
    }

    /// A start is begun.
    pub fn starts(&mut self, now: Time) {
        if self.phase == Phase::Backoff {
            self.restarts = self.restarts.saturating_add(1);
        }
        if self.waits_for(NO_ROOM) || self.waits_for(FENCED) {
            self.trouble = None;
        }
        self.retry_at = None;
        self.enter(Phase::Starting, now);
    }

    /// Its container was stopped on purpose, or is not there any more.
    pub fn stopped(&mut self, attempt: u32, now: Time) {
        self.stopped_at = Some(now);
        self.ended_attempt = self.ended_attempt.max(attempt);
        self.container = None;
        (self.address, self.published) = (None, None);
    }

    /// Its container vanished without a trace.
    pub fn lost(&mut self, now: Time) {
        let reason = "its container was removed by somebody else".to_owned();
        let trouble =
            Trouble { reason, code: "exited".to_owned(), at: now, last_lines: Vec::new() };
        self.fail(Some(trouble), now);
    }

    /// Its container ended by itself.
    pub fn ended(&mut self, kind: UnitKind, end: &End<'_>, now: Time) {
        self.ended_attempt = self.ended_attempt.max(end.attempt);
        let is_well = kind == UnitKind::ReleasePhase && end.ending.code == 0;
        let trouble = (!is_well).then(|| end.trouble(now));
        match kind {
            UnitKind::ReleasePhase => {
                self.settle(Phase::Finished, now);
                self.trouble = trouble;
            }
            UnitKind::Service => self.fail(trouble, now),
        }
    }

    /// It was stopped because its check failed. Without newer lines those of the failure stay.
    pub fn stopped_unhealthy(&mut self, attempt: u32, newest: Vec<String>, now: Time) {
        let reason = self.unhealthy.take().unwrap_or_else(|| "its check failed".to_owned());
        let known = self.trouble.take().map(|trouble| trouble.last_lines).unwrap_or_default();
        let last_lines = if newest.is_empty() { known } else { newest };
        self.ended_attempt = self.ended_attempt.max(attempt);
        self.fail(Some(Trouble { reason, code: UNHEALTHY.to_owned(), at: now, last_lines }), now);
    }

    /// No container could be made or started.
    pub fn not_started(&mut self, kind: UnitKind, code: &str, reason: String, now: Time) {
        let trouble = Trouble { reason, code: code.to_owned(), at: now, last_lines: Vec::new() };
        self.fail(Some(trouble), now);
        if kind == UnitKind::ReleasePhase && self.failures >= RUN_ONCE_TRIES {
            self.settle(Phase::Finished, now);
        }
    }

    /// It must wait: for memory, or until it may run at all.
    pub fn waits(&mut self, code: &str, reason: String, now: Time) {
        self.enter(Phase::Assigned, now);
        self.trouble =
            Some(Trouble { reason, code: code.to_owned(), at: now, last_lines: Vec::new() });
    }

    /// Whether it was told that it must wait for this.
    pub fn waits_for(&self, code: &str) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.code == code)
    }

    /// The engine did not answer: the step is tried again soon and counts as nothing.
    pub fn interrupted(&mut self, now: Time) {
        self.retry_at = Some(now.plus_ms(FIRST_BACKOFF_MS));
    }

    /// Nothing of it is left.
    pub fn gone(&mut self, now: Time) {
        self.settle(Phase::Gone, now);
    }

    fn forget_old_failures(&mut self, now: Time) {
        if self.phase == Phase::Ready && now.since_ms(self.since) >= STEADY_MS {
            self.failures = 0;
        }
    }

    fn fail(&mut self, trouble: Option<Trouble>, now: Time) {
        self.forget_old_failures(now);
        self.failures = self.failures.saturating_add(1);
        self.settle(Phase::Backoff, now);
        self.retry_at = Some(now.plus_ms(backoff_ms(self.failures)));
        self.trouble = trouble;
    }

    fn settle(&mut self, phase: Phase, now: Time) {
        self.enter(phase, now);
        self.container = None;
        (self.address, self.published) = (None, None);
        self.unhealthy = None;
        self.retry_at = None;
    }
}

/// The code of a unit that waits for memory.
pub const NO_ROOM: &str = "no-room";
/// The code of an exclusive unit that waits for a leading controller.
pub const FENCED: &str = "fenced";
/// The code of a unit whose check failed.
const UNHEALTHY: &str = "unhealthy";

/// The pause after the n-th failure in a row.
pub fn backoff_ms(failures: u32) -> u64 {
    let doubled = FIRST_BACKOFF_MS.saturating_mul(2_u64.saturating_pow(failures.saturating_sub(1)));
    doubled.min(MAX_BACKOFF_MS)
}

/// The end of one attempt.
#[derive(Debug)]
pub struct End<'a> {
    /// Which attempt.
    pub attempt: u32,
    /// How it ended.
    pub ending: &'a Ending,
    /// What it might use.
    pub memory_bytes: u64,
}

impl End<'_> {
    fn trouble(&self, now: Time) -> Trouble {
        let Ending { code, out_of_memory, last_lines } = self.ending;
        let (name, reason) = if *out_of_memory {
            let limit = self.memory_bytes / (1 << 20);
            ("out-of-memory", format!("killed: out of memory (limit {limit} MiB)"))
        } else {
            ("exited", exit_reason(*code))
        };
        Trouble { reason, code: name.to_owned(), at: now, last_lines: last_lines.clone() }
    }
}

/// An exit code in words. Above 128 it is how shells and init processes tell a signal.
fn exit_reason(code: i64) -> String {
    match code {
        129..=159 => format!("exited with code {code} (signal {})", code - 128),
        code => format!("exited with code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(code: i64, out_of_memory: bool) -> Ending {
        Ending { code, out_of_memory, last_lines: vec!["bye".to_owned()] }
    }

    fn end(ending: &Ending) -> End<'_> {
        End { attempt: 1, ending, memory_bytes: 64 << 20 }
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<u64> = (1..=8).map(|n| backoff_ms(n) / 1_000).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff_ms(u32::MAX), MAX_BACKOFF_MS);
    }

    #[test]
    fn a_minute_of_readiness_forgets_earlier_failures() {
        let mut memory = Memory::new(Time(0));
        memory.failures = 5;
        memory.phase = Phase::Ready;
        memory.ended(UnitKind::Service, &end(&ending(1, false)), Time(STEADY_MS - 1));
        assert_eq!(memory.failures, 6);
        memory.phase = Phase::Ready;
        memory.since = Time(0);
        memory.ended(UnitKind::Service, &end(&ending(1, false)), Time(STEADY_MS));
        assert_eq!((memory.failures, memory.phase), (1, Phase::Backoff));
        assert_eq!(memory.retry_at, Some(Time(STEADY_MS + 1_000)));
    }

    #[test]
    fn an_end_is_told_in_words_and_code() {
        for (code, out_of_memory, name, reason) in [
            (1, false, "exited", "exited with code 1"),
            (0, false, "exited", "exited with code 0"),
            (143, false, "exited", "exited with code 143 (signal 15)"),
            (137, true, "out-of-memory", "killed: out of memory (limit 64 MiB)"),
        ] {
            let mut memory = Memory::new(Time(0));
            memory.ended(UnitKind::Service, &end(&ending(code, out_of_memory)), Time(5));
            let trouble = memory.status().trouble.unwrap();
            assert_eq!((trouble.code.as_str(), trouble.reason.as_str()), (name, reason));
            assert_eq!(trouble.last_lines, ["bye"]);
        }
    }

    #[test]
    fn a_release_phase_ends_once_well_or_not() {
        let mut memory = Memory::new(Time(0));
        memory.ended(UnitKind::ReleasePhase, &end(&ending(0, false)), Time(5));
        assert_eq!((memory.phase, memory.trouble.clone()), (Phase::Finished, None));
        let mut memory = Memory::new(Time(0));
        memory.ended(UnitKind::ReleasePhase, &end(&ending(3, false)), Time(5));
        assert_eq!(memory.phase, Phase::Finished);
        assert_eq!(memory.trouble.unwrap().code, "exited");
        let mut memory = Memory::new(Time(0));
        for _ in 0..RUN_ONCE_TRIES {
            assert_ne!(memory.phase, Phase::Finished);
            let reason = "no such file".to_owned();
            memory.not_started(UnitKind::ReleasePhase, "cannot-start", reason, Time(5));
        }
        assert_eq!(memory.phase, Phase::Finished);
    }

    #[test]
    fn an_unhealthy_unit_tells_its_lines_at_once_and_keeps_them_when_stopping_brings_none() {
        let mut memory = Memory::new(Time(0));
        memory.phase = Phase::Ready;
        memory.unwell("no answer".to_owned(), lines("ill"), Time(1));
        assert_eq!(
            (memory.phase, memory.status().trouble.unwrap().last_lines),
            (Phase::Backoff, lines("ill"))
        );
        memory.stopped_unhealthy(1, Vec::new(), Time(2));
        assert_eq!(memory.status().trouble.unwrap().last_lines, lines("ill"));
        memory.phase = Phase::Ready;
        memory.unwell("no answer".to_owned(), lines("ill"), Time(3));
        memory.stopped_unhealthy(2, lines("bye"), Time(4));
        assert_eq!(memory.status().trouble.unwrap().last_lines, lines("bye"));
    }

    fn lines(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn readiness_comes_only_to_what_runs() {
        let mut memory = Memory::new(Time(0));
        memory.enter(Phase::Stopping, Time(1));
        memory.healthy(Time(2));
        assert_eq!(memory.phase, Phase::Stopping);
    }
}
