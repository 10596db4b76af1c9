//! How an app's units follow its release, counts and restarts.
//!
//! ```text
//!   missing ─► start beside the old ones ─► ready and routed ─► old ones drain ─► stop ─► forgotten
//!                        │ fails twice, or not ready in time, or no room
//!                        └─► the deploy is given up: the old ones serve on
//! ```

mod formation;
mod release_phase;
mod verdict;
mod wants;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use model::app::{App, Outcome, Settled};
use model::name::UnitId;
use model::release::{Command, Release, ReleaseState};
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::{Desired, Phase, Unit};

use self::formation::TypeView;
use self::release_phase::Gate;
use self::verdict::is_judged;
use super::census::Census;
use super::demand::{Answer, Answered, Demand};
use super::placement::Room;
use super::preemption::let_go;
use super::{Action, Plan};

/// How long a draining unit may finish its requests.
const DRAIN_LIMIT_MS: u64 = 30_000;

/// What one pass works with.
pub struct Pass<'a> {
    census: &'a Census<'a>,
    snapshot: &'a Snapshot,
    now: Time,
    /// What was decided so far.
    pub plan: Plan,
}

/// What one app has and wants, before room is given.
pub struct Survey<'a> {
    app: &'a Versioned<App>,
    release: Option<&'a Release>,
    stage: Stage<'a>,
    demands: Vec<Demand<'a>>,
}

enum Stage<'a> {
    /// Nothing more follows in this pass.
    Over,
    /// Its release phase asked for room.
    ReleasePhase { is_refused: bool },
    /// Its units follow the release.
    Rolling(Vec<TypeView<'a>>),
}

impl<'a> Survey<'a> {
    /// What it asks for, in the name of the survey with this number.
    pub fn take_demands(&mut self, number: usize) -> Vec<Demand<'a>> {
        let demands = std::mem::take(&mut self.demands);
        demands.into_iter().map(|demand| Demand { survey: number, ..demand }).collect()
    }

    /// Hears what became of a demand.
    pub fn hear(&mut self, answered: &Answered<'a>) {
        let demand = &answered.demand;
        match &mut self.stage {
            Stage::Over => {}
            Stage::ReleasePhase { is_refused } => *is_refused = answered.answer == Answer::Refused,
            Stage::Rolling(views) => {
                let mut views = views.iter_mut();
                if let Some(view) = views.find(|view| view.process == demand.process) {
                    view.hear(demand, answered.answer);
                }
            }
        }
    }
}

impl<'a> Pass<'a> {
    /// Nothing looked at yet.
    pub fn new(census: &'a Census<'a>, plan: Plan) -> Pass<'a> {
        Pass { census, snapshot: census.snapshot, now: census.now, plan }
    }

    /// Looks at one app, and does for it what needs no room.
    pub fn survey(&mut self, app: &'a Versioned<App>) -> Survey<'a> {
        self.finish_leaving(&app.value);
        let wanted = app.value.wanted_release();
        let release = wanted.and_then(|number| self.snapshot.release(&app.value.name, number));
        let mut survey = Survey { app, release, stage: Stage::Over, demands: Vec::new() };
        if app.value.destroyed.is_some() {
            self.destroy(app);
            return survey;
        }
        match self.release_phase(&app.value, release) {
            Gate::Open => {}
            Gate::Closed => return survey,
            Gate::Wanting(demand) => {
                survey.stage = Stage::ReleasePhase { is_refused: false };
                survey.demands.push(demand);
                return survey;
            }
            Gate::Failed(end) => {
                self.end(app, end);
                return survey;
            }
        }
        let types = self.types(&app.value, release);
        let views: Vec<TypeView<'_>> =
            types.into_iter().map(|process| self.view(&app.value, release, process)).collect();
        if let Some(release) = release {
            let demands = views.iter().flat_map(|view| self.demands(&app.value, release, view));
            survey.demands = demands.collect();
        }
        survey.stage = Stage::Rolling(views);
        survey
    }

    /// Does for one app what follows from what it got.
    pub fn conclude(&mut self, survey: Survey<'a>, preempted: &BTreeSet<UnitId>, room: &Room) {
        let Survey { app, release, stage, .. } = survey;
        let mut views = match stage {
            Stage::Over => return,
            Stage::ReleasePhase { is_refused } => {
                let end = self.gate_without_room(&app.value).filter(|_| is_refused);
                return end.into_iter().for_each(|end| self.end(app, end));
            }
            Stage::Rolling(views) => views,
        };
        for view in &mut views {
            self.lose(view, preempted);
            view.yielding = self.yielding(&app.value, view, release, room);
        }
        let mut judged = views.iter().filter(|view| is_judged(&app.value, view));
        if !app.value.is_settled() {
            let failure = judged.clone().find_map(|view| self.failure(&app.value, release, view));
            if let Some(failure) = failure {
                self.end(app, failure);
                if app.value.target.is_some() {
                    return;
                }
            } else if judged.all(|view| view.is_serving() && view.is_empty_if_unwanted()) {
                self.end(app, Outcome::Live);
            }
        }
        let all_serving = views.iter().all(TypeView::is_serving);
        for view in &views {
            self.retire(view, all_serving);
        }
    }

    /// Draining units stop when nothing reaches them any more; stopped ones are forgotten.
    fn finish_leaving(&mut self, app: &App) {
        for unit in self.census.units_of(&app.name) {
            match unit.value.desired {
                Desired::Run => {}
                // Stopped with all others.
                Desired::Drain { .. } if app.destroyed.is_some() => {}
                Desired::Drain { since } => {
                    if self.is_unreachable(&unit.value)
                        || self.now.since_ms(since) >= DRAIN_LIMIT_MS
                    {
                        self.move_to(unit, Desired::Stop { since: self.now });
                    }
                }
                Desired::Stop { .. } => {
                    let status = self.snapshot.statuses.get(&unit.value.id);
                    if status.is_some_and(|status| status.phase == Phase::Gone) {
                        self.plan.actions.push(Action::ForgetUnit(unit.clone()));
                    }
                }
            }
        }
    }

    /// Whether every live router has forgotten the unit and finished what it had in flight to it.
    fn is_unreachable(&self, unit: &Unit) -> bool {
        if self.snapshot.may_have_more_routers(self.now) {
            return false;
        }
        let left_at = self.snapshot.left_routes_at.get(&unit.id);
        let left_at = left_at.copied().unwrap_or(self.snapshot.table_version);
        self.snapshot.live_routers(self.now).all(|router| {
            router.version >= left_at && router.draining.get(&unit.id).copied().unwrap_or(0) == 0
        })
    }

    fn destroy(&mut self, app: &Versioned<App>) {
        let mut any = false;
        for unit in self.census.units_of(&app.value.name) {
            any = true;
            if !matches!(unit.value.desired, Desired::Stop { .. }) {
                self.move_to(unit, Desired::Stop { since: self.now });
            }
        }
        if !any {
            self.plan.actions.push(Action::ForgetApp(app.clone()));
        }
    }

    /// Lets go of what is no longer needed.
    fn retire(&mut self, view: &TypeView<'a>, all_serving: bool) {
        for unit in &view.surplus {
            self.let_go(unit);
        }
        for unit in &view.lost {
            if view.got.reassigned.contains(&unit.value.ordinal) {
                // It may come back with its node, where it must not start again.
                self.move_to(unit, Desired::Stop { since: self.now });
            } else if all_serving {
                self.let_go(unit);
            }
        }
        for unit in &view.old {
            let yields = view.yielding.contains(&unit.value.id);
            if all_serving || yields || self.is_given_up(unit) {
                self.let_go(unit);
            }
        }
        let moving = view.current.values().filter(|unit| view.yielding.contains(&unit.value.id));
        for unit in moving {
            self.let_go(unit);
        }
    }

    fn let_go(&mut self, unit: &Versioned<Unit>) {
        self.plan.actions.push(let_go(unit, self.now));
    }

    fn move_to(&mut self, unit: &Versioned<Unit>, desired: Desired) {
        let value = Unit { desired, ..unit.value.clone() };
        self.plan.actions.push(Action::MoveUnit(Versioned { value, revision: unit.revision }));
    }

    /// The change in hand is over.
    fn end(&mut self, app: &Versioned<App>, outcome: Outcome) {
        let mut ended = app.clone();
        ended.value.settled =
            Settled { generation: app.value.generation, outcome: outcome.clone() };
        let Some(deploy) = ended.value.target.take() else {
            self.plan.actions.push(Action::Settle(ended));
            return;
        };
        let Some(release) = self.snapshot.releases.get(&(app.value.name.clone(), deploy.release))
        else {
            return;
        };
        let mut release = release.clone();
        release.value.state = match outcome {
            Outcome::Live => {
                ended.value.current = Some(deploy.release);
                ReleaseState::Succeeded
            }
            Outcome::Failed { reason, .. } => ReleaseState::Failed { reason },
        };
        self.plan
            .actions
            .push(Action::EndDeploy { app: Box::new(ended), release: Box::new(release) });
    }
}

/// The command of a type as its owner wrote it, for lists.
pub fn shown_command(command: &Command) -> String {
    match command.0.as_slice() {
        [shell, flag, line] if shell.ends_with("sh") && flag.ends_with('c') => line.clone(),
        words => words.join(" "),
    }
}
