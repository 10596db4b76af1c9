//! How an app's units follow its release, counts and restarts.
//!
//! ```text
//!   missing ─► start beside the old ones ─► ready and routed ─► old ones drain ─► stop ─► forgotten
//!                        │ fails twice, or not ready in time, or no room
//!                        └─► the deploy is given up: the old ones serve on
//! ```

use std::collections::{BTreeMap, BTreeSet};

use model::app::{App, Outcome, Scale, Settled};
use model::name::{ProcessType, ReleaseNumber};
use model::release::{Command, Release, ReleaseState};
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::{Desired, Phase, Unit, UnitKind, UnitStatus};

use super::placement::Room;
use super::{Action, Ids, Plan, Rules, Waiting};

/// Beyond a check's grace, how long a new unit may take to start, become ready and be routed.
const START_ALLOWANCE_MS: u64 = 30_000;
/// How long a deploy or scale waits for room.
const ROOM_PATIENCE_MS: u64 = 20_000;
/// How long a draining unit may finish its requests.
const DRAIN_LIMIT_MS: u64 = 30_000;
/// How long a release phase may take.
const RELEASE_PHASE_LIMIT_MS: u64 = 600_000;

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

/// Whether the change in hand is about this type: a deploy is about all, others about those that
/// were changed last.
fn is_judged(app: &App, view: &TypeView<'_>) -> bool {
    let newest = app.formation.values().map(|scale| scale.changed).max();
    app.target.is_some() || newest.is_none_or(|newest| view.scale.changed == newest)
}

/// Whether the units may follow the release yet.
enum Gate {
    Open,
    Closed,
    Failed(Outcome),
}

/// One process type: what is wanted, and what there is.
struct TypeView<'a> {
    process: ProcessType,
    scale: Scale,
    wanted: u32,
    /// Units of the wanted release and epoch, by ordinal; all want to run.
    current: BTreeMap<u32, &'a Versioned<Unit>>,
    /// Current ones beyond the count.
    surplus: Vec<&'a Versioned<Unit>>,
    /// Units of another release or epoch that still want to run.
    old: Vec<&'a Versioned<Unit>>,
    /// Any unit at all, leaving ones included.
    any: usize,
    serving: u32,
    old_ready: u32,
    /// Started in this pass.
    started: u32,
    /// Missing and without room.
    unplaced: u32,
}

impl TypeView<'_> {
    fn is_serving(&self) -> bool {
        self.unplaced == 0 && self.started == 0 && self.serving >= self.wanted
    }

    fn is_empty_if_unwanted(&self) -> bool {
        self.wanted > 0 || self.any == 0 || !self.old.is_empty()
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

    /// Runs the release phase of a new image once, and stops what is left of other ones.
    fn release_phase(&mut self, app: &App, release: Option<&Release>) -> Gate {
        let target = app.target.as_ref().map(|deploy| deploy.release);
        let mut mine = None;
        for unit in self.snapshot.units_of(&app.name) {
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
        if release.command(&ProcessType::release()).is_none() || self.image_has_succeeded(release) {
            return Gate::Open;
        }
        let Some(unit) = mine else {
            self.start(app, release, ProcessType::release(), 1, 0, UnitKind::ReleasePhase);
            return self.gate_without_room(app);
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

    fn gate_without_room(&self, app: &App) -> Gate {
        let waited = app.target.as_ref().map_or(0, |deploy| self.now.since_ms(deploy.started));
        match self.plan.waiting.iter().rfind(|waiting| waiting.app == app.name) {
            Some(waiting) if waited >= ROOM_PATIENCE_MS => Gate::Failed(no_room(&waiting.reason)),
            _ => Gate::Closed,
        }
    }

    fn image_has_succeeded(&self, release: &Release) -> bool {
        let image = release.build.as_ref().map(|build| &build.image);
        let from = (release.app.clone(), ReleaseNumber(0));
        let of_app =
            self.snapshot.releases.range(from..).take_while(|(key, _)| key.0 == release.app);
        of_app.map(|(_, other)| &other.value).any(|other| {
            other.state == ReleaseState::Succeeded
                && other.build.as_ref().map(|build| &build.image) == image
        })
    }

    /// Every type that is wanted or has units.
    fn types(&self, app: &App, release: Option<&Release>) -> BTreeSet<ProcessType> {
        let units =
            self.snapshot.units_of(&app.name).filter(|unit| unit.value.kind == UnitKind::Service);
        let running = units.map(|unit| unit.value.process.clone());
        let wanted = release.into_iter().flat_map(Release::scalable).cloned();
        running.chain(wanted).collect()
    }

    fn view(&self, app: &App, release: Option<&Release>, process: ProcessType) -> TypeView<'a> {
        let scale = app.formation.get(&process).cloned().unwrap_or_default();
        let in_release = release.is_some_and(|release| release.command(&process).is_some());
        let wanted = if in_release { scale.wanted() } else { 0 };
        let number = release.map(|release| release.number);
        let mut view = TypeView {
            wanted,
            current: BTreeMap::new(),
            surplus: Vec::new(),
            old: Vec::new(),
            any: 0,
            serving: 0,
            old_ready: 0,
            started: 0,
            unplaced: 0,
            scale,
            process,
        };
        for unit in self.snapshot.units_of(&app.name) {
            if unit.value.process != view.process || unit.value.kind != UnitKind::Service {
                continue;
            }
            view.any += 1;
            if !unit.value.is_wanted() {
                continue;
            }
            let is_current =
                Some(unit.value.release) == number && unit.value.epoch == view.scale.epoch;
            if !is_current {
                view.old_ready += u32::from(self.is_ready(&unit.value));
                view.old.push(unit);
            } else if unit.value.ordinal > wanted || view.current.contains_key(&unit.value.ordinal)
            {
                view.surplus.push(unit);
            } else {
                view.serving += u32::from(self.is_serving(&unit.value));
                view.current.insert(unit.value.ordinal, unit);
            }
        }
        view
    }

    fn status(&self, unit: &Unit) -> Option<&'a UnitStatus> {
        self.snapshot.statuses.get(&unit.id)
    }

    fn is_ready(&self, unit: &Unit) -> bool {
        self.status(unit).is_some_and(|status| status.phase == Phase::Ready)
    }

    /// Ready and, for web, in the table of every live router, of which there is one at least.
    fn is_serving(&self, unit: &Unit) -> bool {
        if !self.is_ready(unit) || !unit.process.is_web() {
            return self.is_ready(unit);
        }
        let Some(entered) = self.snapshot.entered_routes_at.get(&unit.id) else { return false };
        let mut routers = self.snapshot.live_routers(self.now).peekable();
        routers.peek().is_some() && routers.all(|router| router.version >= *entered)
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

    /// Why the change in hand cannot come to a good end, if so.
    fn failure(
        &self,
        app: &App,
        release: Option<&Release>,
        view: &TypeView<'_>,
    ) -> Option<Outcome> {
        let release = release?;
        let began = app.target.as_ref().map_or(view.scale.changed, |deploy| deploy.started);
        let old_can_yield = !view.old.is_empty();
        if view.unplaced > 0 && !old_can_yield && self.now.since_ms(began) >= ROOM_PATIENCE_MS {
            let waiting = self.plan.waiting.iter().rfind(|waiting| {
                waiting.app == app.name && waiting.process.as_ref() == Some(&view.process)
            });
            return waiting.map(|waiting| no_room(&waiting.reason));
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

fn release_failed(reason: String, last_lines: Vec<String>) -> Outcome {
    Outcome::Failed { code: "release-failed".to_owned(), reason, last_lines }
}

fn no_room(reason: &str) -> Outcome {
    Outcome::Failed {
        code: "no-room".to_owned(),
        reason: reason.to_owned(),
        last_lines: Vec::new(),
    }
}

/// The command of a type as its owner wrote it, for lists.
pub fn shown_command(command: &Command) -> String {
    match command.0.as_slice() {
        [shell, flag, line] if shell.ends_with("sh") && flag.ends_with('c') => line.clone(),
        words => words.join(" "),
    }
}

#[cfg(test)]
mod tests;
