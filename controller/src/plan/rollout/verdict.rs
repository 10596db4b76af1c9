//! Whether the change in hand can still come to a good end.

use model::app::{App, Outcome};
use model::release::Release;
use model::time::Time;
use model::unit::{Phase, Unit};

use super::Pass;
use super::formation::TypeView;
use crate::plan::Waiting;

/// Beyond a check's grace, how long a new unit may take to start, become ready and be routed.
const START_ALLOWANCE_MS: u64 = 30_000;
/// How long a deploy or scale waits for room.
pub(super) const ROOM_PATIENCE_MS: u64 = 20_000;

/// Whether the change in hand is about this type: a deploy is about all, others about those that
/// were changed last.
pub(super) fn is_judged(app: &App, view: &TypeView<'_>) -> bool {
    let newest = app.formation.values().map(|scale| scale.changed).max();
    app.target.is_some() || newest.is_none_or(|newest| view.scale.changed == newest)
}

impl Pass<'_> {
    /// Why the change in hand cannot come to a good end, if so.
    pub(super) fn failure(
        &self,
        app: &App,
        release: Option<&Release>,
        view: &TypeView<'_>,
    ) -> Option<Outcome> {
        let release = release?;
        let began = app.target.as_ref().map_or(view.scale.changed, |deploy| deploy.started);
        if view.is_stuck() && self.now.since_ms(began) >= ROOM_PATIENCE_MS {
            let waiting = self.plan.waiting.iter().rfind(|waiting| {
                waiting.app == app.name && waiting.process.as_ref() == Some(&view.process)
            });
            return waiting.map(no_room);
        }
        let patience_ms = release.check(&view.process).grace_ms + START_ALLOWANCE_MS;
        view.current.values().find_map(|unit| self.unit_failure(&unit.value, began, patience_ms))
    }

    fn unit_failure(&self, unit: &Unit, began: Time, patience_ms: u64) -> Option<Outcome> {
        let name = unit.display_name();
        let status = self.status(unit);
        let trouble = status.and_then(|status| status.trouble.as_ref());
        let last_lines = trouble.map(|trouble| trouble.last_lines.clone()).unwrap_or_default();
        let failed_twice = status.is_some_and(|status| {
            status.phase != Phase::Ready
                && (status.restarts >= 2
                    || (status.restarts >= 1 && status.phase == Phase::Backoff))
        });
        if let (true, Some(trouble)) = (failed_twice, trouble) {
            let code = if trouble.code == "unhealthy" { "unhealthy" } else { "crashed" };
            let reason = format!("{name} {}", trouble.reason);
            return Some(Outcome::Failed { code: code.to_owned(), reason, last_lines });
        }
        let since = began.max(unit.created);
        if self.is_serving(unit) || self.now.since_ms(since) < patience_ms {
            return None;
        }
        let seconds = patience_ms / 1000;
        let reason = match (self.is_ready(unit), trouble) {
            (true, _) => format!("{name} is ready, but no router serves it after {seconds} s"),
            (false, Some(trouble)) => {
                format!("{name} was not ready after {seconds} s: it {}", trouble.reason)
            }
            (false, None) => format!("{name} was not ready after {seconds} s"),
        };
        Some(Outcome::Failed { code: "unhealthy".to_owned(), reason, last_lines })
    }
}

/// The end of a change that waited for too long.
pub(super) fn no_room(waiting: &Waiting) -> Outcome {
    Outcome::Failed {
        code: "no-room".to_owned(),
        reason: waiting.reason.clone(),
        last_lines: Vec::new(),
    }
}
