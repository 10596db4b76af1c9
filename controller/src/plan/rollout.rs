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

#[cfg(test)]
mod tests;

use model::app::{App, Outcome, Settled};
use model::name::ProcessType;
use model::release::{Command, Release, ReleaseState};
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::{Desired, Phase, Unit, UnitKind};

use self::formation::TypeView;
use self::release_phase::Gate;
use self::verdict::is_judged;
use super::placement::Room;
use super::{Action, Ids, Plan, Rules, Waiting};

/// How long a draining unit may finish its requests.
const DRAIN_LIMIT_MS: u64 = 30_000;

/// What one pass works with.
pub struct Pass<'a> {
    /// The world.
    pub snapshot: &'a Snapshot,
    /// Settings.
    pub rules: &'a Rules,
    /// The time.
    pub now: Time,
    /// Names for new units.
    pub ids: &'a mut dyn Ids,
    /// What is free.
    pub room: &'a mut Room,
    /// What was decided so far.
    pub plan: &'a mut Plan,
}

/// Plans for one app.
pub fn plan_app(app: &Versioned<App>, pass: &mut Pass<'_>) {
    pass.finish_leaving(&app.value);
    if app.value.destroyed.is_some() {
        return pass.destroy(app);
    }
    let wanted = app.value.wanted_release();
    let release = wanted.and_then(|number| pass.snapshot.release(&app.value.name, number));
    match pass.release_phase(&app.value, release) {
        Gate::Open => {}
        Gate::Closed => return,
        Gate::Failed(end) => return pass.end(app, end),
    }
    let types = pass.types(&app.value, release);
    let mut views: Vec<TypeView<'_>> =
        types.into_iter().map(|process| pass.view(&app.value, release, process)).collect();
    for view in &mut views {
        pass.start_missing(&app.value, release, view);
    }
    let mut judged = views.iter().filter(|view| is_judged(&app.value, view));
    if !app.value.is_settled() {
        let failure = judged.clone().find_map(|view| pass.failure(&app.value, release, view));
        if let Some(failure) = failure {
            pass.end(app, failure);
            if app.value.target.is_some() {
                return;
            }
        } else if judged.all(|view| view.is_serving() && view.is_empty_if_unwanted()) {
            pass.end(app, Outcome::Live);
        }
    }
    let all_serving = views.iter().all(TypeView::is_serving);
    for view in &views {
        pass.retire(view, all_serving);
    }
}

impl<'a> Pass<'a> {
    /// Draining units stop when nothing reaches them any more; stopped ones are forgotten.
    fn finish_leaving(&mut self, app: &App) {
        for unit in self.snapshot.units_of(&app.name) {
            match unit.value.desired {
                Desired::Run => {}
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
        let left_at = self.snapshot.left_routes_at.get(&unit.id);
        let left_at = left_at.copied().unwrap_or(self.snapshot.table_version);
        self.snapshot.live_routers(self.now).all(|router| {
            router.version >= left_at && router.draining.get(&unit.id).copied().unwrap_or(0) == 0
        })
    }

    fn destroy(&mut self, app: &Versioned<App>) {
        let mut any = false;
        for unit in self.snapshot.units_of(&app.value.name) {
            any = true;
            if !matches!(unit.value.desired, Desired::Stop { .. }) {
                self.move_to(unit, Desired::Stop { since: self.now });
            }
        }
        if !any {
            self.plan.actions.push(Action::ForgetApp(app.clone()));
        }
    }

    fn start_missing(&mut self, app: &App, release: Option<&Release>, view: &mut TypeView<'_>) {
        let Some(release) = release else { return };
        for ordinal in 1..=view.wanted {
            if view.current.contains_key(&ordinal) {
                continue;
            }
            let process = view.process.clone();
            if self.start(app, release, process, ordinal, view.scale.epoch, UnitKind::Service) {
                view.started += 1;
            } else {
                view.unplaced += 1;
            }
        }
    }

    fn start(
        &mut self,
        app: &App,
        release: &Release,
        process: ProcessType,
        ordinal: u32,
        epoch: u64,
        kind: UnitKind,
    ) -> bool {
        let memory_bytes =
            release.limits(&process).memory_bytes.unwrap_or(self.rules.default_memory_bytes);
        match self.room.place(&app.name, &process, memory_bytes) {
            Ok(node) => {
                let id = format!("{}-{}-{}", app.name, process, self.ids.next()).to_lowercase();
                let id = id.replace('_', "-").parse().expect("app, type and id make a unit id");
                self.plan.actions.push(Action::StartUnit(Unit {
                    id,
                    app: app.name.clone(),
                    process,
                    ordinal,
                    release: release.number,
                    epoch,
                    kind,
                    node,
                    memory_bytes,
                    created: self.now,
                    exclusive: false,
                    desired: Desired::Run,
                }));
                true
            }
            Err(refusal) => {
                self.plan.waiting.push(Waiting {
                    app: app.name.clone(),
                    process: Some(process.clone()),
                    unit: None,
                    code: refusal.code,
                    reason: format!("{process}.{ordinal} waits: {}", refusal.reason),
                });
                false
            }
        }
    }

    /// Lets go of what is no longer needed.
    fn retire(&mut self, view: &TypeView<'a>, all_serving: bool) {
        for unit in &view.surplus {
            self.let_go(unit);
        }
        let is_given_up = |unit: &Versioned<Unit>| {
            let release = self.snapshot.release(&unit.value.app, unit.value.release);
            release.is_none_or(|release| matches!(release.state, ReleaseState::Failed { .. }))
        };
        let (given_up, mut old): (Vec<_>, Vec<_>) =
            view.old.iter().copied().partition(|unit| is_given_up(unit));
        for unit in given_up {
            self.let_go(unit);
        }
        for unit in view.lost.iter().filter(|_| all_serving) {
            self.let_go(unit);
        }
        let spare = if all_serving {
            old.len()
        } else if view.unplaced > 0 {
            self.one_for_one(view)
        } else {
            0
        };
        // Those that do not serve go first.
        old.sort_by_key(|unit| (self.is_ready(&unit.value), unit.value.ordinal));
        for unit in old.into_iter().take(spare) {
            self.let_go(unit);
        }
    }

    /// How many old units may go when the new ones do not all fit beside them.
    fn one_for_one(&self, view: &TypeView<'_>) -> usize {
        let beyond_need = (view.serving + view.old_ready).saturating_sub(view.wanted) as usize;
        let starting = view.started > 0 || view.current.len() > view.serving as usize;
        let leaving = view.any > view.old.len() + view.current.len() + view.surplus.len();
        if beyond_need == 0 && !starting && !leaving { 1 } else { beyond_need.min(view.old.len()) }
    }

    /// Web units drain first; others have no traffic to finish.
    fn let_go(&mut self, unit: &Versioned<Unit>) {
        let since = self.now;
        let desired = if unit.value.process.is_web() {
            Desired::Drain { since }
        } else {
            Desired::Stop { since }
        };
        self.move_to(unit, desired);
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
