//! The leader's pass: observe, route, plan, show, apply.
//!
//! ```text
//!   Observer + Heard ─► snapshot ─► Tracker ─► route table ──► routers
//!                           │
//!                           ├─► plan ─► view ──► API, assignments
//!                           └────────► apply ─► store ─► Observer
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::app::App;
use model::name::{AppName, NodeName};
use model::snapshot::{Snapshot, Versioned};
use model::standing::{Standing, standing};
use model::time::Time;
use service::{Clock, Tasks, Wake, reconcile};
use tokio::sync::watch;

use crate::apply::Applier;
use crate::events::Events;
use crate::gateway::routers::Tables;
use crate::heard::Heard;
use crate::leader::LeaderError;
use crate::observe::{ObserveError, Observer, Seen};
use crate::outside::Outside;
use crate::plan::regency;
use crate::plan::routes::{Tracker, routes};
use crate::plan::{Action, Ids, Plan, Rules, plan};
use crate::records::CommitError;
use crate::view::{Lead, View};

/// How often the loop looks whether something is due; nothing is done when nothing is.
const PERIOD: Duration = Duration::from_millis(250);
/// Changes that come closer together than this are seen in one pass.
const MIN_GAP: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(3);
/// How often everything is looked at when nothing changes and nothing is under way.
const IDLE_PERIOD: Duration = Duration::from_secs(10);
/// After a start, how long agents may take to be heard before plans are made without them.
const START_GRACE: Duration = Duration::from_secs(5);

/// When the planner runs.
pub const OPTIONS: reconcile::Options =
    reconcile::Options { period: PERIOD, min_gap: MIN_GAP, backoff_max: MAX_BACKOFF };

/// The parts of the pass.
pub struct Parts {
    /// The image of the store.
    pub observer: Arc<Observer>,
    /// What was heard.
    pub heard: Heard,
    /// The way back into the store.
    pub applier: Applier,
    /// Where route tables go.
    pub tables: Tables,
    /// Where views go.
    pub view: watch::Sender<View>,
    /// Settings of the planners.
    pub rules: Rules,
    /// This controller's node.
    pub node: NodeName,
    /// The platform's domain.
    pub domain: String,
    /// The time.
    pub clock: Clock,
    /// Names for new units.
    pub ids: Box<dyn Ids + Send>,
    /// The loggers and registries.
    pub outside: Arc<dyn Outside>,
    /// For what takes longer than a pass may.
    pub tasks: Tasks,
    /// Its own handle.
    pub wake: Wake,
}

/// The state between two passes.
pub struct Planner {
    parts: Parts,
    tracker: Tracker,
    events: Events,
    funerals: Funerals,
    started: Duration,
    /// Whose orders go out; what the state above belongs to.
    role: Role,
    /// Since when it leads, renewals included.
    leading_since: Option<Time>,
    /// Since when the store has no quorum.
    doubt_since: Option<Duration>,
    /// The store's revision of our last write.
    written: u64,
    last: Option<Last>,
}

/// What a controller is to its cluster, with the epoch of its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Another leads, or nobody.
    Following,
    /// It plans for all.
    Leading(u64),
    /// Nobody can lead, and no other node is to be seen: it plans for its own, under the last epoch, and stores nothing.
    Regent(u64),
}

impl Role {
    /// What it sends orders under, if it does.
    fn lead(self, own: &NodeName) -> Option<Lead> {
        match self {
            Role::Following => None,
            Role::Leading(epoch) => Some(Lead { epoch, only: None }),
            Role::Regent(epoch) => Some(Lead { epoch, only: Some(own.clone()) }),
        }
    }
}

/// What the last pass saw.
struct Last {
    seen: Seen,
    heard: u64,
    silences: Vec<usize>,
    at: Duration,
    is_busy: bool,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The world could not be seen.
    #[error("{0}")]
    Observe(#[from] ObserveError),
    /// The plan could not be written.
    #[error("apply the plan: {0}")]
    Commit(#[from] CommitError),
    /// The lead could not be taken again.
    #[error("{0}")]
    Leader(#[from] LeaderError),
}

impl Planner {
    /// No pass yet.
    pub fn new(parts: Parts) -> Planner {
        Planner {
            started: parts.clock.monotonic(),
            written: 0,
            role: Role::Following,
            leading_since: None,
            doubt_since: None,
            tracker: Tracker::default(),
            events: Events::since(Time(parts.clock.now_ms())),
            funerals: Funerals::default(),
            last: None,
            parts,
        }
    }

    /// One pass, if there is a reason for it.
    pub async fn pass(&mut self) -> Result<(), PassError> {
        self.parts.observer.caught_up(self.written).await?;
        if !self.is_due() {
            return Ok(());
        }
        let now = Time(self.parts.clock.now_ms());
        let (heard, silences) = (self.parts.heard.changes(), self.silences());
        self.take_role(now);
        let (snapshot, seen) = self.observe(now);
        let is_warm = self.is_warm(&snapshot);
        let plan = if is_warm { self.plan(&snapshot, now) } else { Plan::default() };
        let is_busy = !is_warm || is_busy(&snapshot, &plan);
        self.parts.view.send_replace(View {
            snapshot: snapshot.clone(),
            as_of: now,
            waiting: Arc::new(plan.waiting),
            lead: self.role.lead(&self.parts.node),
            is_warm,
        });
        if !matches!(self.role, Role::Leading(_)) {
            self.last =
                Some(Last { seen, heard, silences, at: self.parts.clock.monotonic(), is_busy });
            return Ok(());
        }
        for (app, said) in self.events.news(&snapshot) {
            self.parts.outside.say(&app, said);
        }
        // Remembered before the writes: what fails is tried again.
        self.last =
            Some(Last { seen, heard, silences, at: self.parts.clock.monotonic(), is_busy: true });
        self.apply(&plan.actions, &snapshot).await?;
        if is_warm {
            self.parts.outside.retain(&snapshot);
            self.parts.outside.remove_volumes(&snapshot);
        }
        if let Some(last) = &mut self.last {
            last.is_busy = is_busy;
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.last.as_ref().is_none_or(|last| {
            last.is_busy
                || last.heard != self.parts.heard.changes()
                || last.silences != self.silences()
                || !last.seen.is_same_world(&self.parts.observer.seen())
                || self.parts.applier.records.doubt().is_set()
                || self.lead().is_some() != matches!(self.role, Role::Leading(_))
                || self.parts.clock.since(last.at) >= IDLE_PERIOD
        })
    }

    fn silences(&self) -> Vec<usize> {
        self.parts.heard.silences(Time(self.parts.clock.now_ms()))
    }

    /// The epoch of our lead, if we lead and the image of the store shows it.
    fn lead(&self) -> Option<u64> {
        let leader = &self.parts.applier.leader;
        let is_seen = self.parts.observer.seen().epoch_revision == leader.revision();
        (leader.is_leading() && is_seen).then(|| leader.revision())
    }

    /// What this controller is now. What belongs to a role begins with it and ends with it.
    fn take_role(&mut self, now: Time) {
        let role = match self.lead() {
            Some(epoch) => Role::Leading(epoch),
            None if self.is_last(now) => Role::Regent(self.parts.observer.seen().epoch_revision),
            None => Role::Following,
        };
        let before = std::mem::replace(&mut self.role, role);
        if before == role {
            return;
        }
        if let (Role::Leading(_), Role::Leading(_), Some(lead)) =
            (before, role, role.lead(&self.parts.node))
        {
            // The lead was only renewed.
            if self.tracker.is_started() {
                self.parts.tables.publish(lead, self.tracker.version(), self.tracker.routes());
            }
            return;
        }
        tracing::info!(?role, "this controller has another role");
        self.leading_since = matches!(role, Role::Leading(_)).then_some(now);
        self.tracker = Tracker::default();
        self.events = Events::since(now);
        if role == Role::Following {
            self.parts.tables.withdraw();
        }
    }

    /// Whether there has been no quorum for so long, and no other node to be seen, that this one looks after itself.
    fn is_last(&mut self, now: Time) -> bool {
        let clock = &self.parts.clock;
        if !self.parts.applier.records.doubt().is_set() {
            self.doubt_since = None;
            return false;
        }
        let since = *self.doubt_since.get_or_insert_with(|| clock.monotonic());
        let is_long = clock.since(since) >= Duration::from_millis(regency::AFTER_MS);
        let world = &self.parts.view.borrow().snapshot;
        is_long && regency::is_alone(world, &self.parts.node, now)
    }

    /// The world, with the route table brought up to it.
    fn observe(&mut self, now: Time) -> (Arc<Snapshot>, Seen) {
        let Planner { parts, tracker, started, role, leading_since, .. } = self;
        let is_graced = parts.clock.since(*started) >= START_GRACE;
        let (lead, mut is_new) = (role.lead(&parts.node), false);
        let epoch = lead.as_ref().map_or(0, |lead| lead.epoch);
        let observed = parts.observer.snapshot(|world| {
            world.leading_since = *leading_since;
            if matches!(role, Role::Regent(_)) {
                parts.heard.complete(world, epoch, now);
                add_reserve(world, parts, now);
            }
            parts.heard.complete(world, epoch, now);
            world.listening_since = listening_since(&parts.clock, *started, now);
            if lead.is_some() && (tracker.is_started() || may_route(world, is_graced)) {
                let served = world.routers.values().map(|router| router.version).max();
                is_new = tracker.follow(routes(world, &parts.domain), now);
                is_new |= tracker.overtake(served.unwrap_or_default());
            }
            tracker.complete(world);
        });
        if let Some(lead) = lead
            && is_new
        {
            parts.tables.publish(lead, tracker.version(), tracker.routes());
        }
        observed
    }

    fn is_warm(&self, snapshot: &Snapshot) -> bool {
        let is_graced = self.parts.clock.since(self.started) >= START_GRACE;
        is_graced || (!snapshot.nodes.is_empty() && silent_nodes(snapshot).is_empty())
    }

    /// A plan that touches nothing on nodes of which it is not known how they are: their units may be well.
    fn plan(&mut self, snapshot: &Snapshot, now: Time) -> Plan {
        let mut plan = plan(snapshot, &self.parts.rules, now, &mut *self.parts.ids);
        plan.actions.retain(|action| match action {
            Action::MoveUnit(unit) | Action::ForgetUnit(unit) => {
                standing(snapshot, &unit.value.node, now) != Standing::Suspect
            }
            Action::KnowNode { .. }
            | Action::StartUnit(_)
            | Action::EndDeploy { .. }
            | Action::Settle(_)
            | Action::ForgetApp(_) => true,
        });
        plan
    }

    async fn apply(
        &mut self,
        actions: &[Action],
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), PassError> {
        for action in actions {
            if let Action::ForgetApp(app) = action {
                self.funerals.begin(&self.parts, app.clone(), snapshot.clone());
            }
        }
        match self.parts.applier.apply(actions, snapshot).await {
            Ok(applied) => {
                self.written = self.written.max(applied.revision);
                if applied.stale > 0 {
                    tracing::debug!(stale = applied.stale, "actions lost a race");
                }
                for (app, said) in applied.ended {
                    tracing::info!(%app, said, "a change ended");
                    self.parts.outside.say(&app, said);
                }
                Ok(())
            }
            Err(error) => {
                if matches!(&error, CommitError::Store(cause) if cause.is_outcome_unknown()) {
                    self.written = self.parts.applier.leader.renew().await?;
                }
                Err(error.into())
            }
        }
    }
}

/// When listening began, by the clock as it is now: it may have followed another's since.
fn listening_since(clock: &Clock, started: Duration, now: Time) -> Time {
    let passed_ms = u64::try_from(clock.since(started).as_millis()).unwrap_or(u64::MAX);
    Time(now.0.saturating_sub(passed_ms))
}

/// Puts the units of a regency into the image; the next listing of the store takes them out again.
fn add_reserve(world: &mut Snapshot, parts: &Parts, now: Time) {
    for unit in regency::regency(world, &parts.node, &parts.rules, now) {
        tracing::warn!(unit = %unit.id, "started because no other node is to be seen");
        world.units.insert(unit.id.clone(), Versioned { value: unit, revision: 0 });
    }
}

/// Nodes that units were placed on and that were not heard since the start.
fn silent_nodes(snapshot: &Snapshot) -> BTreeSet<NodeName> {
    let placed = snapshot.units.values().map(|unit| &unit.value.node);
    placed.filter(|node| !snapshot.nodes.contains_key(*node)).cloned().collect()
}

/// Whether a first table may be made: not before it is known which units serve, because routers follow it. As long as no
/// node with units was heard at all, they do better with the table they have.
fn may_route(snapshot: &Snapshot, is_graced: bool) -> bool {
    let mut placed = snapshot.units.values().map(|unit| &unit.value.node).peekable();
    let (any, mut heard) = (placed.peek().is_some(), placed);
    if !any {
        return is_graced || !snapshot.nodes.is_empty();
    }
    silent_nodes(snapshot).is_empty()
        || (is_graced && heard.any(|node| snapshot.nodes.contains_key(node)))
}

/// Whether time alone may make something happen soon.
fn is_busy(snapshot: &Snapshot, plan: &Plan) -> bool {
    !plan.actions.is_empty()
        || !plan.waiting.is_empty()
        || snapshot.units.values().any(|unit| !unit.value.is_wanted())
        || snapshot.apps.values().any(|app| {
            !app.value.is_settled() || app.value.destroyed.is_some() || app.value.target.is_some()
        })
}

/// Destroyed apps whose belongings are being removed.
#[derive(Clone, Default)]
struct Funerals(Arc<Mutex<BTreeSet<AppName>>>);

impl Funerals {
    /// Removes what an app left, in a task of its own because other parts are asked; one at a time per app.
    fn begin(&self, parts: &Parts, app: Versioned<App>, snapshot: Arc<Snapshot>) {
        let name = app.value.name.clone();
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
            return;
        }
        let (outside, applier) = (parts.outside.clone(), parts.applier.clone());
        let (funerals, wake) = (self.clone(), parts.wake.clone());
        parts.tasks.spawn("removal of an app", async move {
            let removed = match outside.forget(&name, &snapshot).await {
                Ok(()) => applier.forget(&app, &snapshot).await,
                Err(error) => Err(error),
            };
            match removed {
                Ok(_) => tracing::info!(app = %name, "app removed"),
                // The next pass tries again.
                Err(error) => tracing::warn!(app = %name, %error, "an app was not removed"),
            }
            funerals.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            wake.kick();
        });
    }
}

#[cfg(test)]
mod tests;
