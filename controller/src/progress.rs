//! What is said to somebody who follows a change: each thing once, and the end.
//!
//! Pure: a [`Story`] looks at one view after the other. Views may be missed or repeated, and a new
//! story of the same change ends the same way, so a lost connection loses nothing.

use std::collections::BTreeSet;

use model::app::{App, Outcome};
use model::name::{AppName, ReleaseNumber};
use model::time::Time;
use model::unit::{Desired, Phase, Unit, UnitKind, UnitStatus};
use proto::problem::{Code, Problem};

use crate::view::View;

/// How a followed change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The new state was seen serving.
    Live {
        /// The release in force.
        release: Option<ReleaseNumber>,
    },
    /// It was given up.
    Failed(Problem),
}

/// What was said to one follower so far.
#[derive(Debug)]
pub struct Story {
    app: AppName,
    /// Tells the app from a later one of the same name.
    created: Time,
    generation: u64,
    /// When the change began, as far as it was seen going on.
    began: Time,
    said: BTreeSet<String>,
}

impl Story {
    /// A story of the change that made `generation`.
    pub fn new(app: &App, generation: u64) -> Story {
        Story {
            app: app.name.clone(),
            created: app.created,
            generation,
            began: Time::default(),
            said: BTreeSet::new(),
        }
    }

    /// The app's name.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// The change's end, by the app's document.
    pub fn end(&self, app: &App) -> Option<End> {
        if app.settled.generation < self.generation {
            return None;
        }
        Some(match &app.settled.outcome {
            Outcome::Live => End::Live { release: app.current },
            Outcome::Failed { code, reason, last_lines } => {
                End::Failed(failure(code, reason).details(last_lines.clone()))
            }
        })
    }

    /// Whether this document is of the app that is followed.
    pub fn is_about(&self, app: &App) -> bool {
        app.name == self.app && app.created == self.created
    }

    /// What is new in a view.
    pub fn news(&mut self, view: &View) -> Vec<String> {
        let app = view.snapshot.apps.get(&self.app).map(|app| &app.value);
        let Some(app) = app.filter(|app| self.is_about(app) && app.generation >= self.generation)
        else {
            return Vec::new();
        };
        // What runs on after a failure is what ran before it, and no news.
        if matches!(self.end(app), Some(End::Failed(_))) {
            return Vec::new();
        }
        self.began = self.began.max(began(app));
        let mut lines = Vec::new();
        for unit in view.snapshot.units_of(&self.app).map(|unit| &unit.value) {
            lines.extend(unit_line(unit, view.snapshot.statuses.get(&unit.id), self.began));
        }
        let waiting = view.waiting.iter().filter(|waiting| waiting.app == self.app);
        lines.extend(waiting.map(|waiting| format!("waiting: {}", waiting.reason)));
        lines.retain(|line| self.said.insert(line.clone()));
        lines
    }
}

/// When the change in hand began; units made since belong to it. A deploy that has ended tells no more when that was.
fn began(app: &App) -> Time {
    let shaped = app.formation.values().map(|scale| scale.changed).max().unwrap_or_default();
    app.target.as_ref().map_or(shaped, |deploy| deploy.started)
}

fn unit_line(unit: &Unit, status: Option<&UnitStatus>, began: Time) -> Option<String> {
    let name = match unit.kind {
        UnitKind::Service => unit.display_name(),
        UnitKind::ReleasePhase => "the release phase".to_owned(),
    };
    let node = &unit.node;
    match unit.desired {
        Desired::Run if unit.created >= began => {}
        Desired::Run => return None,
        Desired::Drain { since } if since >= began => {
            return Some(format!("{name} of {} finishes its requests", unit.release));
        }
        Desired::Stop { since } if since >= began && unit.kind == UnitKind::Service => {
            return Some(format!("{name} of {} stops", unit.release));
        }
        Desired::Drain { .. } | Desired::Stop { .. } => return None,
    }
    let line = match (status.map(|status| status.phase), unit.kind) {
        (None | Some(Phase::Assigned), _) => return None,
        (Some(Phase::Pulling), _) => format!("{name} fetches its image on {node}"),
        (Some(Phase::Running), UnitKind::ReleasePhase) => format!("{name} is running on {node}"),
        (Some(Phase::Starting | Phase::Running), _) => format!("{name} is starting on {node}"),
        (Some(Phase::Ready), _) => format!("{name} is ready"),
        (Some(Phase::Finished), _) => format!("{name} has ended"),
        (Some(Phase::Backoff), _) => {
            let trouble = status.and_then(|status| status.trouble.as_ref());
            let reason = trouble.map_or("ended", |trouble| trouble.reason.as_str());
            format!("{name} {reason}; it will be started again")
        }
        (Some(Phase::Stopping | Phase::Gone), _) => return None,
    };
    Some(line)
}

/// An outcome in the user's words, with what to do next.
fn failure(code: &str, reason: &str) -> Problem {
    let code = Code::ALL.iter().find(|known| known.as_str() == code);
    let code = code.copied().unwrap_or(Code::Internal);
    let hint = match code {
        Code::Crashed => "what served before still serves; `paasctl logs` shows why it ended",
        Code::Unhealthy => {
            "what served before still serves; does it listen on PORT, and does its check pass?"
        }
        Code::ReleaseFailed => {
            "what served before still serves; the release phase must exit with 0"
        }
        Code::NoRoom => "add a node, lower a limit (`paasctl limits:set`), or scale something down",
        _ => "",
    };
    Problem::new(code, reason).hint(hint)
}

#[cfg(test)]
mod tests;
