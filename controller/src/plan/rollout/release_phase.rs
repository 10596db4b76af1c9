//! The release phase: a command that runs once on each new image, before any unit follows it.

use model::app::{App, Outcome};
use model::name::{ProcessType, ReleaseNumber};
use model::release::{Release, ReleaseState};
use model::unit::{Desired, Phase, UnitKind};

use super::verdict::{ROOM_PATIENCE_MS, no_room};
use super::{Demand, Pass};
use crate::plan::demand::There;
use crate::plan::placement::Tags;

/// How long a release phase may take.
const RELEASE_PHASE_LIMIT_MS: u64 = 600_000;
/// It runs anywhere.
pub(super) static NO_TAGS: Tags = Tags::new();

/// Whether the units may follow the release yet.
pub(super) enum Gate<'a> {
    Open,
    Closed,
    /// The command waits for a unit to run in.
    Wanting(Demand<'a>),
    Failed(Outcome),
}

impl<'a> Pass<'a> {
    /// Runs the release phase of a new image once, and stops what is left of other ones.
    pub(super) fn release_phase(&mut self, app: &'a App, release: Option<&'a Release>) -> Gate<'a> {
        let target = app.target.as_ref().map(|deploy| deploy.release);
        let mut mine = None;
        for unit in self.census.units_of(&app.name) {
            if unit.value.kind != UnitKind::ReleasePhase {
                continue;
            }
            if Some(unit.value.release) == target {
                mine = Some(unit);
            } else if !matches!(unit.value.desired, Desired::Stop { .. }) {
                self.move_to(unit, Desired::Stop { since: self.now });
            }
        }
        let (Some(_), Some(release)) = (target, release) else { return Gate::Open };
        if release.command(&ProcessType::release()).is_none() || self.has_succeeded(release) {
            return Gate::Open;
        }
        let Some(unit) = mine else {
            return Gate::Wanting(Demand {
                survey: 0,
                app,
                release,
                process: ProcessType::release(),
                ordinal: 1,
                epoch: 0,
                kind: UnitKind::ReleasePhase,
                exclusive: false,
                tags: &NO_TAGS,
                rank: 1,
                there: There::Nothing,
                holder: None,
            });
        };
        let Some(status) = self.snapshot.statuses.get(&unit.value.id) else { return Gate::Closed };
        match (status.phase, &status.trouble) {
            (Phase::Finished, None) => Gate::Open,
            (Phase::Finished, Some(trouble)) => {
                let reason = format!("the release phase {}", trouble.reason);
                Gate::Failed(release_failed(reason, trouble.last_lines.clone()))
            }
            _ if self.now.since_ms(unit.value.created) >= RELEASE_PHASE_LIMIT_MS => {
                let minutes = RELEASE_PHASE_LIMIT_MS / 60_000;
                let reason = format!("the release phase had not ended after {minutes} minutes");
                Gate::Failed(release_failed(reason, Vec::new()))
            }
            _ => Gate::Closed,
        }
    }

    /// The end of a deploy whose command found no room for too long.
    pub(super) fn gate_without_room(&self, app: &App) -> Option<Outcome> {
        let waited_ms = app.target.as_ref().map_or(0, |deploy| self.now.since_ms(deploy.started));
        let waiting = self.plan.waiting.iter().rfind(|waiting| waiting.app == app.name);
        waiting.filter(|_| waited_ms >= ROOM_PATIENCE_MS).map(no_room)
    }

    /// Whether this command has run well on this image before.
    fn has_succeeded(&self, release: &Release) -> bool {
        let image = release.build.as_ref().map(|build| &build.image);
        let from = (release.app.clone(), ReleaseNumber(0));
        let of_app =
            self.snapshot.releases.range(from..).take_while(|(key, _)| key.0 == release.app);
        of_app.map(|(_, other)| &other.value).any(|other| {
            other.state == ReleaseState::Succeeded
                && other.build.as_ref().map(|build| &build.image) == image
                && other.command(&ProcessType::release())
                    == release.command(&ProcessType::release())
        })
    }
}

fn release_failed(reason: String, last_lines: Vec<String>) -> Outcome {
    Outcome::Failed { code: "release-failed".to_owned(), reason, last_lines }
}
