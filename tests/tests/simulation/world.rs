//! The cluster in one thread: controllers, nodes and routers over one store, and hands to do things to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agent::runtime::State as ContainerState;
use agent::runtime::fake::FakeRuntime;
use model::name::{AppName, UnitId};
use model::unit::Desired;
use store::{Revision, Store};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::brain::{Brain, Ground};
use crate::dice::Dice;
use crate::edge::Edge;
use crate::host::{self, Host};
use crate::ledger::Ledger;
use crate::network::Network;
use crate::operators::Chore;
use crate::people::{self, Act, Around, is_good};
use crate::registry::Registries;
use crate::trace::Trace;
use crate::truth::Truth;

/// Controllers of every simulated cluster.
pub const CONTROLLERS: usize = 3;

/// When nothing goes wrong, everything is as it shall be after this long: longer than any pause of an agent.
const QUIET: Duration = Duration::from_secs(300);
/// A cluster at rest is not written to for this long: looks at everything in between found nothing.
const REST: Duration = Duration::from_secs(25);

/// How often registries look for images that only one of them has.
const REPAIR_EVERY: Duration = Duration::from_secs(60);

/// All of it. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct World {
    pub ground: Ground,
    pub brains: Vec<Brain>,
    pub hosts: Vec<Host>,
    pub edges: Vec<Edge>,
    /// Held while a machine is being replaced.
    replacing: Arc<Mutex<()>>,
}

impl World {
    /// A cluster of nodes with so much memory, everything started.
    pub fn new(seed: u64, capacities: &[u64]) -> World {
        let trace = Trace::new();
        let runtimes: Vec<FakeRuntime> = capacities.iter().map(|_| FakeRuntime::new()).collect();
        let nodes = capacities.iter().zip(&runtimes).enumerate();
        let truths =
            nodes.map(|(n, (capacity, runtime))| (host::name(n), *capacity, runtime.clone()));
        let truth = Truth::new(trace.clone(), truths.collect());
        let ledger = Ledger::new(truth.clone(), trace.clone());
        let count = capacities.len();
        let network = Network::new(CONTROLLERS);
        let registries = Registries::new(network.clone(), count);
        let ground = Ground { seed, network, ledger, truth, registries, trace };
        let brains: Vec<Brain> = (0..CONTROLLERS).map(|n| Brain::new(n, ground.clone())).collect();
        let host = |(n, runtime): (usize, FakeRuntime)| {
            runtime.set_run_once_code(0);
            let mut dice = Dice::of(seed, "containers", &[n as u64]);
            runtime.set_pace(move || dice.millis(5, 600));
            let registries = ground.registries.clone();
            runtime.set_registry(move |image| registries.fetch(n, image));
            Host::new(n, count, capacities[n], runtime, brains.clone(), ground.clone())
        };
        let hosts: Vec<Host> = runtimes.into_iter().enumerate().map(host).collect();
        let edges = (0..count).map(|n| Edge::new(n, brains.clone(), ground.clone())).collect();
        let world = World { ground, brains, hosts, edges, replacing: Arc::default() };
        (0..count).for_each(|n| world.power_on(n));
        let registries = world.ground.registries.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REPAIR_EVERY).await;
                registries.repair();
            }
        });
        world
    }

    /// Lets time pass, looking at everything as it does.
    pub async fn pass(&self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end && self.ground.trace.broken().is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.look();
        }
    }

    /// Checks what must always hold.
    pub fn look(&self) {
        self.ground.truth.look();
        let lives = self.brains.iter().filter_map(Brain::life);
        let leading = lives.filter(|life| life.mind.leader.is_leading()).count();
        if leading > 1 {
            self.ground.trace.breaks("one leads at a time", format!("{leading} lead"));
        }
    }

    /// Lets time pass until there is nothing more to say against it, at most so long. What is still said, if anything.
    pub async fn until(
        &self,
        most: Duration,
        against: impl Fn(&World) -> Option<String>,
    ) -> Option<String> {
        let end = tokio::time::Instant::now() + most;
        loop {
            let said = against(self);
            let is_over = tokio::time::Instant::now() >= end;
            if said.is_none() || is_over || self.ground.trace.broken().is_some() {
                return said;
            }
            self.pass(Duration::from_millis(100)).await;
        }
    }

    /// Ends an agent.
    pub fn stop_agent(&self, node: usize) {
        self.hosts[node].stop();
        self.ground.truth.agent_runs(node, false);
        self.ground.network.set_machine(node, self.ground.network.is_on(node), false);
    }

    /// Starts an agent, if its machine is on.
    pub fn start_agent(&self, node: usize) {
        if self.ground.network.is_on(node) {
            self.hosts[node].start();
            self.ground.truth.agent_runs(node, true);
            self.ground.network.set_machine(node, true, true);
        }
    }

    /// Stops a node's Docker Engine, or starts it. Containers live on.
    pub fn set_docker(&self, node: usize, is_down: bool) {
        self.hosts[node].runtime().set_down(is_down);
        self.ground.truth.docker_runs(node, !is_down);
    }

    /// Starts a controller, if its machine is on.
    pub fn start_controller(&self, controller: usize) {
        if self.ground.network.is_on(controller) {
            self.brains[controller].start();
        }
    }

    /// Starts a router, if its machine is on.
    pub fn start_router(&self, node: usize) {
        if self.ground.network.is_on(node) {
            self.edges[node].start();
        }
    }

    /// Takes a machine's power away: everything on it ends.
    pub fn power_off(&self, node: usize) {
        self.hosts[node].stop();
        self.hosts[node].runtime().power_cycle();
        self.edges[node].stop();
        if let Some(brain) = self.brains.get(node) {
            brain.kill();
        }
        self.ground.network.set_machine(node, false, false);
    }

    /// Gives it back: everything on it starts.
    pub fn power_on(&self, node: usize) {
        if self.ground.network.is_away(node) {
            return;
        }
        self.ground.network.set_machine(node, true, true);
        self.ground.truth.agent_runs(node, true);
        self.hosts[node].start();
        self.edges[node].start();
        if let Some(brain) = self.brains.get(node) {
            brain.start();
        }
    }

    /// Cuts a machine off from all others, or mends that.
    pub fn cut_off(&self, node: usize, is_cut: bool) {
        self.ground.network.cut_off(node, self.hosts.len(), is_cut);
    }

    /// Puts an empty machine in the place of one.
    pub fn wipe(&self, node: usize) {
        self.power_off(node);
        self.hosts[node].wipe();
        self.edges[node].wipe();
        self.ground.registries.wipe(node);
    }

    /// The right to replace a machine: one at a time.
    pub fn begins_replacing(&self) -> Option<OwnedMutexGuard<()>> {
        self.replacing.clone().try_lock_owned().ok()
    }

    /// Whether a machine is being replaced.
    pub fn is_replacing(&self) -> bool {
        self.replacing.try_lock().is_err()
    }

    /// An operator does something to a node.
    pub fn operate(&self, node: usize, chore: Chore) {
        tokio::spawn(chore.tell(self.clone(), node));
    }

    /// Ends one of a node's containers.
    pub fn crash_any(&self, node: usize, dice: &mut Dice) {
        let running: Vec<UnitId> = self.hosts[node].runtime().well().into_iter().collect();
        if !running.is_empty() {
            self.hosts[node].runtime().crash(dice.pick(&running), 1, dice.percent(30));
        }
    }

    /// Forgets the store's history: watches that lag have to list anew.
    pub fn compact(&self) {
        let ledger = self.ground.ledger.clone();
        tokio::spawn(async move {
            let listing = ledger.store().list("").await.expect("the store itself never fails");
            let next = Revision(listing.revision.0 + 1);
            ledger.store().compact(next).await.expect("the store itself never fails");
        });
    }

    /// Somebody asks for something through a controller, if it is there.
    pub fn ask(&self, controller: usize, app: &AppName, act: Act) {
        let Some(life) = self.brains[controller].life() else { return };
        let runtimes = self.hosts.iter().map(|host| host.runtime().clone()).collect();
        let around = Around { controller, runtimes, ground: self.ground.clone() };
        tokio::spawn(people::tell(act, app.clone(), life, around));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.ground.trace.say("all is healed");
        self.ground.network.heal();
        self.ground.registries.heal();
        for node in 0..self.hosts.len() {
            self.set_docker(node, false);
            self.power_on(node);
        }
    }

    /// The controller that leads.
    pub fn leader(&self) -> Option<usize> {
        let leads = |brain: &Brain| brain.life().is_some_and(|life| life.mind.leader.is_leading());
        self.brains.iter().position(leads)
    }

    /// Units of an app that are well, wherever.
    pub fn well(&self) -> BTreeSet<UnitId> {
        self.hosts.iter().flat_map(|host| host.runtime().well()).collect()
    }

    /// What is not as it shall be when nothing goes wrong, if anything.
    pub fn unrest(&self) -> Option<String> {
        let Some(leader) = self.leader() else { return Some("nobody leads".to_owned()) };
        let life = self.brains[leader].life()?;
        let view = life.mind.view.borrow().clone();
        let documents = self.ground.ledger.documents();
        let well = self.well();
        let mut routed = BTreeSet::new();
        for app in documents.apps.values() {
            if app.destroyed.is_some() || !app.is_settled() || app.target.is_some() {
                return Some(format!("{} is not settled", app.name));
            }
            let Some(current) = app.current else { continue };
            let is_waiting = view.waiting.iter().any(|waiting| waiting.app == app.name);
            let release =
                &documents.releases[&controller::records::release_key(&app.name, current)];
            for process in release.scalable() {
                let scale = app.formation.get(process).cloned().unwrap_or_default();
                let mut units: Vec<_> = documents.units.values().collect();
                units.retain(|it| (&it.app, &it.process) == (&app.name, process));
                let current_units: Vec<_> = units
                    .iter()
                    .filter(|it| it.is_wanted() && (it.release, it.epoch) == (current, scale.epoch))
                    .collect();
                if is_waiting {
                    continue;
                }
                if units.len() != current_units.len() || units.len() != scale.wanted() as usize {
                    let (all, wanted) = (units.len(), scale.wanted());
                    return Some(format!("{} has {all} {process} units for {wanted}", app.name));
                }
                let ill = current_units.iter().find(|it| !well.contains(&it.id));
                if let Some(ill) = ill.filter(|_| is_good(&documents.releases, &app.name, current))
                {
                    return Some(format!("{} is not well", ill.id));
                }
                if process.is_web() {
                    let ready = current_units.iter().filter(|it| well.contains(&it.id));
                    routed.extend(ready.map(|it| it.id.clone()));
                }
            }
        }
        let has_room_waiting = !view.waiting.is_empty();
        let leaving = documents.units.values().find(|it| !matches!(it.desired, Desired::Run));
        if let Some(leaving) = leaving {
            return Some(format!("{} is still leaving", leaving.id));
        }
        for host in &self.hosts {
            for container in host.runtime().containers() {
                let unit = documents.units.get(&container.unit);
                if unit.is_none_or(|unit| unit.node != *host.name()) {
                    return Some(format!(
                        "{} has {} that nobody wants",
                        host.name(),
                        container.unit
                    ));
                }
                if container.state == ContainerState::Created {
                    return Some(format!("{} was never started", container.unit));
                }
            }
        }
        let tables: Vec<_> = self.edges.iter().map(Edge::table).collect();
        let newest = tables.iter().flatten().map(|table| (table.epoch, table.version)).max();
        for (router, table) in tables.iter().enumerate() {
            let Some(table) = table else { return Some(format!("router {router} has no table")) };
            if Some((table.epoch, table.version)) != newest
                || table.epoch != life.mind.leader.revision()
            {
                return Some(format!("router {router} serves from an old table"));
            }
            let units = table.apps.iter().flat_map(|app| &app.units);
            let units: BTreeSet<UnitId> = units.map(|endpoint| endpoint.unit.clone()).collect();
            if units != routed && !has_room_waiting {
                return Some(format!("router {router} serves {units:?} instead of {routed:?}"));
            }
        }
        None
    }

    /// Whether all comes to rest: everything is as it shall be, and nothing is written for a while.
    pub async fn settles(&self) -> Result<(), String> {
        let end = tokio::time::Instant::now() + QUIET;
        let mut last = "nothing was looked at".to_owned();
        while tokio::time::Instant::now() < end {
            if let Some(unrest) = self.until(QUIET, World::unrest).await {
                last = unrest;
                break;
            }
            let before = self.ground.ledger.documents().revision;
            self.pass(REST).await;
            let after = self.ground.ledger.documents().revision;
            match self.unrest() {
                None if before == after => return Ok(()),
                None => last = format!("still written to, at revision {after}"),
                Some(unrest) => last = unrest,
            }
        }
        for (controller, brain) in self.brains.iter().enumerate() {
            if let Some(life) = brain.life() {
                let (planner, seen) = (life.wake.status(), life.mind.observer.seen());
                let view = life.mind.view.borrow().clone();
                let (warm, waiting) = (view.is_warm, view.waiting);
                let text =
                    format!("c{controller}: {planner:?}, {seen:?}, warm {warm}, {waiting:?}");
                self.ground.trace.say(text);
            }
        }
        Err(format!("{last} after {} s of quiet", QUIET.as_secs()))
    }
}
