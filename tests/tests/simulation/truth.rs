//! What is really so, whoever knows of it: which units are well, which node was heard by whom, what each router serves from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::runtime::fake::FakeRuntime;
use agent::runtime::{Container, State as ContainerState};
use model::name::{NodeName, UnitId};
use model::release::{Release, ReleaseState};
use model::route::RouteTable;
use model::unit::{Desired, Unit, UnitKind};
use tokio::time::Instant;

use crate::ledger::Documents;
use crate::trace::Trace;

/// What was well this long ago may still count as well: news take their time.
const NEWS_TAKE: Duration = Duration::from_secs(8);
/// A node unheard for nearly as long as makes it lost.
const NEARLY_LOST: Duration = Duration::from_millis(4_500);
/// After a node was unheard, decisions from that time may still arrive.
const DECISIONS_TAKE: Duration = Duration::from_secs(15);
/// An agent that was just started ends the exclusive units it finds within this time.
const FOUND_AND_ENDED: Duration = Duration::from_secs(3);
/// How long a draining unit may finish its requests.
const DRAIN_LIMIT_MS: u64 = 30_000;

/// A cheap handle on the truth.
#[derive(Clone)]
pub struct Truth(Arc<Mutex<State>>);

struct State {
    trace: Trace,
    nodes: Vec<NodeTruth>,
    last_well: BTreeMap<UnitId, Instant>,
    heard: BTreeMap<(usize, Voice, usize), Heard>,
    tables: BTreeMap<usize, Arc<RouteTable>>,
    gone: BTreeMap<(usize, UnitId), Instant>,
    /// Nodes whose agent, or whose Docker Engine, does not run, or since when they run again.
    agents: BTreeMap<usize, Keeper>,
    dockers: BTreeMap<usize, Keeper>,
}

/// Somebody without whom no container of a node is ended.
#[derive(Clone, Copy)]
enum Keeper {
    Down,
    Up(Instant),
}

impl Keeper {
    fn set(keepers: &mut BTreeMap<usize, Keeper>, node: usize, runs: bool) {
        if !runs {
            keepers.insert(node, Keeper::Down);
        } else if !matches!(keepers.get(&node), Some(Keeper::Up(_))) {
            keepers.insert(node, Keeper::Up(Instant::now()));
        }
    }

    /// Whether it has run for long enough to have done what it finds to do.
    fn is_at_work(self) -> bool {
        match self {
            Keeper::Down => false,
            Keeper::Up(since) => since.elapsed() >= FOUND_AND_ENDED,
        }
    }
}

struct NodeTruth {
    name: NodeName,
    capacity: u64,
    runtime: FakeRuntime,
}

/// Who was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voice {
    /// A node's agent.
    Agent,
    /// A node's router.
    Router,
}

#[derive(Clone, Copy)]
struct Heard {
    last: Instant,
    /// When a silence that was nearly long enough to count ended.
    broke: Option<Instant>,
}

impl Truth {
    /// Of these nodes: name, memory, containers.
    pub fn new(trace: Trace, nodes: Vec<(NodeName, u64, FakeRuntime)>) -> Truth {
        let node = |(name, capacity, runtime)| NodeTruth { name, capacity, runtime };
        Truth(Arc::new(Mutex::new(State {
            trace,
            nodes: nodes.into_iter().map(node).collect(),
            last_well: BTreeMap::new(),
            heard: BTreeMap::new(),
            tables: BTreeMap::new(),
            gone: BTreeMap::new(),
            agents: BTreeMap::new(),
            dockers: BTreeMap::new(),
        })))
    }

    /// The memory of a node.
    pub fn capacity(&self, node: &NodeName) -> u64 {
        self.lock().nodes.iter().find(|it| it.name == *node).map_or(0, |it| it.capacity)
    }

    /// A controller begins to listen.
    pub fn listens(&self, controller: usize) {
        let mut state = self.lock();
        let now = Instant::now();
        for node in 0..state.nodes.len() {
            for voice in [Voice::Agent, Voice::Router] {
                let heard = Heard { last: now, broke: None };
                state.heard.insert((controller, voice, node), heard);
            }
        }
    }

    /// A controller hears a node.
    pub fn hears(&self, controller: usize, voice: Voice, node: usize) {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(heard) = state.heard.get_mut(&(controller, voice, node)) else { return };
        if now - heard.last >= NEARLY_LOST {
            heard.broke = Some(now);
        }
        heard.last = now;
    }

    /// A node's agent runs now, or does not.
    pub fn agent_runs(&self, node: usize, runs: bool) {
        Keeper::set(&mut self.lock().agents, node, runs);
    }

    /// A node's Docker Engine runs now, or does not.
    pub fn docker_runs(&self, node: usize, runs: bool) {
        Keeper::set(&mut self.lock().dockers, node, runs);
    }

    /// A controller was told that a unit is gone.
    pub fn told_gone(&self, controller: usize, unit: &UnitId) {
        self.lock().gone.entry((controller, unit.clone())).or_insert_with(Instant::now);
    }

    /// A router starts with the table it had.
    pub fn serves_again(&self, router: usize, table: Arc<RouteTable>) {
        self.lock().tables.insert(router, table);
    }

    /// A router serves from a table that came now.
    pub fn serves(&self, router: usize, table: Arc<RouteTable>) {
        let mut state = self.lock();
        let units = table.apps.iter().flat_map(|app| &app.units).map(|endpoint| &endpoint.unit);
        for unit in units {
            let told = state.gone.iter().filter(|((_, gone), _)| gone == unit).map(|(_, at)| *at);
            // Longer than a table may be under way.
            if let Some(told) = told.min()
                && told.elapsed() > Duration::from_secs(10)
            {
                let how = format!("router {router} serves {unit} from version {}", table.version);
                state.trace.breaks("no route leads to what is gone", how);
            }
        }
        state.tables.insert(router, table);
    }

    /// A router is down.
    pub fn serves_nothing(&self, router: usize) {
        self.lock().tables.remove(&router);
    }

    /// Looks at every node.
    ///
    /// Nothing is ended on a node whose agent or Docker Engine is dead: only a machine with both keeps exclusive units from
    /// running twice.
    pub fn look(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.see_well();
        let mut exclusive: BTreeMap<(String, String), &NodeName> = BTreeMap::new();
        for (index, node) in state.nodes.iter().enumerate() {
            let running = node.runtime.containers().into_iter();
            let running = running.filter(|container| container.state == ContainerState::Running);
            let running: Vec<Container> = running.collect();
            let used: u64 = running.iter().map(|container| container.memory_bytes).sum();
            if used > node.capacity {
                let how = format!("{} uses {used} of {} bytes", node.name, node.capacity);
                state.trace.breaks("memory is never overcommitted", how);
            }
            let keepers = [state.agents.get(&index), state.dockers.get(&index)];
            if !keepers.into_iter().flatten().all(|keeper| keeper.is_at_work()) {
                continue;
            }
            for container in running.into_iter().filter(|container| container.is_exclusive) {
                let unit = (container.app, container.name);
                let how = format!("{} {} on {}", unit.0, unit.1, node.name);
                if let Some(other) = exclusive.insert(unit, &node.name) {
                    let how = format!("{how} and {other}");
                    state.trace.breaks("an exclusive unit never runs twice", how);
                }
            }
        }
    }

    /// Whether a unit may be moved: the broken invariant, if not.
    pub fn check_move(
        &self,
        documents: &Documents,
        before: &Unit,
        after: &Unit,
        controller: usize,
    ) -> Option<(&'static str, String)> {
        let mut guard = self.lock();
        guard.see_well();
        let state = &*guard;
        let node = state.nodes.iter().position(|node| node.name == before.node)?;
        let app = documents.apps.get(&before.app)?;
        if app.destroyed.is_some() || before.kind != UnitKind::Service {
            return None;
        }
        if before.is_wanted() && !state.is_uncertain(controller, Voice::Agent, node) {
            let is_followed = app.target.is_some()
                || !app.is_settled()
                || Some(before.release) != app.current
                || app.formation.get(&before.process).is_none_or(|it| it.epoch != before.epoch);
            let is_well = state.nodes[node].runtime.well().contains(&before.id);
            let wanted = app.formation.get(&before.process).map_or(0, |scale| scale.wanted());
            let others = documents.units.values().filter(|unit| {
                unit.id != before.id
                    && (&unit.app, &unit.process) == (&before.app, &before.process)
                    && unit.is_wanted()
                    && !is_given_up(documents.releases.values(), unit)
                    && state.last_well.get(&unit.id).is_some_and(|at| at.elapsed() < NEWS_TAKE)
            });
            let others = others.count() as u32;
            let may_go_first = before.exclusive && documents.is_moving(&before.node);
            let is_taken = documents.has_higher(app);
            if !is_followed && !may_go_first && !is_taken && is_well && others < wanted {
                let how = format!("{} was let go with {others} of {wanted} beside it", before.id);
                return Some(("no unit of a settled app goes below its count", how));
            }
        }
        if let (true, Desired::Stop { since }) = (before.process.is_web(), after.desired) {
            let drained_ms = match before.desired {
                Desired::Drain { since: began } => since.since_ms(began),
                Desired::Run | Desired::Stop { .. } => 0,
            };
            for (router, table) in &state.tables {
                let mut units = table.apps.iter().flat_map(|app| &app.units);
                let leads = units.any(|endpoint| endpoint.unit == before.id);
                let is_waited_for = !state.is_uncertain(controller, Voice::Router, *router);
                if leads && is_waited_for && drained_ms < DRAIN_LIMIT_MS {
                    let how = format!("router {router} still leads to {}", before.id);
                    return Some(("traffic goes off before a unit stops", how));
                }
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see_well(&mut self) {
        let now = Instant::now();
        let well = self.nodes.iter().flat_map(|node| node.runtime.well());
        self.last_well.extend(well.map(|unit| (unit, now)));
    }

    /// Whether a controller may take a node for lost.
    fn is_uncertain(&self, controller: usize, voice: Voice, node: usize) -> bool {
        self.heard.get(&(controller, voice, node)).is_none_or(|heard| {
            heard.last.elapsed() >= NEARLY_LOST
                || heard.broke.is_some_and(|at| at.elapsed() < DECISIONS_TAKE)
        })
    }
}

fn is_given_up<'r>(mut releases: impl Iterator<Item = &'r Release>, unit: &Unit) -> bool {
    let own = releases.find(|release| release.app == unit.app && release.number == unit.release);
    own.is_none_or(|release| matches!(release.state, ReleaseState::Failed { .. }))
}
