//! A node: the real engine of an agent over containers in memory, and the ways its orders and reports go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::engine::{Engine, Handle, Parts, Told};
use agent::fence::Fence;
use agent::logs::NoLines;
use agent::orders::Orders;
use agent::room::Room;
use agent::runtime::fake::FakeRuntime;
use controller::admission::is_admitted;
use futures_util::StreamExt;
use model::name::NodeName;
use model::node::{Addresses, Node};
use model::time::Time;
use model::unit::Phase;
use proto::gateway::{AssignmentSet, NodeReport};
use service::{Clock, Peer, Stop, Tasks};
use tokio::sync::Notify;

use crate::brain::{Brain, Ground, Life, START_MS};
use crate::dice::Dice;
use crate::network::Network;
use crate::truth::Voice;

/// How often a report is told.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Changes this close together are told together.
const GATHER: Duration = Duration::from_millis(10);
/// How often a follower of a stream looks whether it still lives.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks in a row without an answer that break a connection.
const SILENT_LOOKS: u32 = 6;
/// Before asking for a stream anew.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// What a node keeps while it is off.
#[derive(Default)]
struct Disk {
    orders: Option<Orders>,
}

/// A node. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<Shared>);

struct Shared {
    index: usize,
    name: NodeName,
    capacity: u64,
    nodes: usize,
    runtime: FakeRuntime,
    brains: Vec<Brain>,
    ground: Ground,
    disk: Mutex<Disk>,
    agent: Mutex<Option<Stop>>,
    lives: Mutex<u64>,
}

impl Host {
    /// Switched off, without containers.
    pub fn new(
        index: usize,
        nodes: usize,
        capacity: u64,
        runtime: FakeRuntime,
        brains: Vec<Brain>,
        ground: Ground,
    ) -> Host {
        Host(Arc::new(Shared {
            index,
            name: name(index),
            capacity,
            nodes,
            runtime,
            brains,
            ground,
            disk: Mutex::default(),
            agent: Mutex::default(),
            lives: Mutex::default(),
        }))
    }

    /// Its containers.
    pub fn runtime(&self) -> &FakeRuntime {
        &self.0.runtime
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.0.name
    }

    /// Starts the agent. It obeys the orders on its disk until others come.
    pub fn start(&self) {
        let mut agent = self.0.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if agent.is_some() {
            return;
        }
        let stop = Stop::new();
        *agent = Some(stop.clone());
        drop(agent);
        let life = {
            let mut lives = self.0.lives.lock().unwrap_or_else(PoisonError::into_inner);
            *lives += 1;
            *lives
        };
        let tasks = Tasks::new(stop.clone());
        let clock = Clock::steady_from(START_MS + self.0.ground.trace.passed_ms());
        self.0.runtime.set_clock(clock.clone());
        let kick = Arc::new(Notify::new());
        let fence = Fence::new(clock.clone(), kick.clone());
        let parts = Parts {
            fence: fence.clone(),
            runtime: Arc::new(self.0.runtime.clone()),
            lines: Arc::new(NoLines),
            room: Room::new(self.0.capacity),
            clock: clock.clone(),
            kick,
        };
        let (engine, handle) = Engine::new(parts, tasks.clone());
        if let Some(orders) = self.disk().orders.clone() {
            handle.give(orders, false);
        }
        tasks.spawn("engine", engine.run(stop));
        for controller in 0..self.0.brains.len() {
            let (handle, fence, clock) = (handle.clone(), fence.clone(), clock.clone());
            let link = Link { host: self.clone(), controller, handle, fence, clock, life };
            tasks.spawn("orders", link.clone().follow(tasks.stop().clone()));
            tasks.spawn("reports", link.report(tasks.stop().clone()));
        }
    }

    /// Ends the agent. Containers go on.
    pub fn stop(&self) {
        if let Some(stop) = self.0.agent.lock().unwrap_or_else(PoisonError::into_inner).take() {
            stop.set();
        }
    }

    /// Empties it: no containers, no images, no orders.
    pub fn wipe(&self) {
        self.0.runtime.wipe();
        self.disk().orders = None;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps orders and has them obeyed, unless newer ones were obeyed before.
    fn obey(&self, set: AssignmentSet, handle: &Handle) -> bool {
        let ground = &self.0.ground;
        let orders = match Orders::parse(set) {
            Ok(orders) => orders,
            Err(error) => {
                ground.trace.breaks("orders can be read", error.to_string());
                return false;
            }
        };
        let mut disk = self.disk();
        let known = disk.orders.clone().unwrap_or_default();
        let orders = match orders.after(&known, Time(0)) {
            Ok(orders) => orders,
            Err(refused) => {
                ground.trace.say(format!("{} leaves orders out: {refused}", self.0.name));
                return false;
            }
        };
        disk.orders = Some(orders.clone());
        drop(disk);
        ground.trace.say(format!("{} obeys {} units", self.0.name, orders.units.len()));
        handle.give(orders, true);
        true
    }

    fn tell(&self, told: &Told) -> NodeReport {
        let others = (0..self.0.nodes).filter(|other| *other != self.0.index);
        let sight = |other| self.0.ground.network.sight(self.0.index, other);
        let node = Node {
            name: self.0.name.clone(),
            addresses: Addresses::default(),
            memory_bytes: self.0.capacity,
            sessions_bytes: 0,
            cpu_millis: 4_000,
            disk_free_bytes: 1 << 30,
            version: String::new(),
            clock_ahead_ms: 0,
            trouble: told.trouble.clone(),
            sights: others.map(|other| (name(other), sight(other))).collect(),
            left_running: told.left_running.until.clone(),
            heard: Time(0),
        };
        let statuses = told.statuses.iter().map(|(unit, status)| {
            (unit.to_string(), serde_json::to_string(status).expect("a status is plain data"))
        });
        NodeReport {
            node_json: serde_json::to_string(&node).expect("a node is plain data"),
            statuses_json: statuses.collect::<HashMap<_, _>>(),
            applied_version: told.applied_version,
        }
    }
}

/// The name of a node.
pub fn name(index: usize) -> NodeName {
    format!("n{index}").parse().expect("a node's name")
}

/// A part of a machine, as its certificate shows it.
pub fn peer(role: &str, machine: usize, network: &Network) -> Peer {
    let (role, node) = (role.to_owned(), name(machine).to_string());
    Peer { role, node, admission: network.badge(machine) }
}

/// One agent's way to one controller.
#[derive(Clone)]
struct Link {
    host: Host,
    controller: usize,
    handle: Handle,
    fence: Fence,
    clock: Clock,
    life: u64,
}

impl Link {
    fn number(&self) -> u64 {
        (self.host.0.index * self.host.0.brains.len() + self.controller) as u64
    }

    fn peer(&self) -> Peer {
        peer("agent", self.host.0.index, &self.host.0.ground.network)
    }

    fn dice(&self, part: &str) -> Dice {
        Dice::of(self.host.0.ground.seed, part, &[self.number(), self.life])
    }

    async fn follow(self, stop: Stop) {
        let mut dice = self.dice("orders");
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = self.follow_once(&mut dice) => {}
            }
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = tokio::time::sleep(ASK_AGAIN + dice.millis(0, 200)) => {}
            }
        }
    }

    async fn follow_once(&self, dice: &mut Dice) {
        let (network, index) = (&self.host.0.ground.network, self.host.0.index);
        let Some(life) = self.host.0.brains[self.controller].life() else { return };
        if !network.is_open(self.controller, index) {
            return;
        }
        if !is_admitted(&life.mind.view.borrow().snapshot.specs, &self.peer()) {
            return;
        }
        let opened = self.clock.monotonic();
        let mut sets = Box::pin(life.mind.nodes.assignments(self.host.0.name.clone()));
        let mut broken =
            Box::pin(broken(self.host.0.ground.clone(), self.controller, index, &life));
        loop {
            let set = tokio::select! {
                biased;
                () = &mut broken => return,
                () = self.fence.asks_for_orders(opened) => return,
                set = sets.next() => set,
            };
            let Some(Ok(set)) = set else { return };
            let latency = network.latency(self.number(), dice);
            tokio::time::sleep(latency).await;
            if !network.passes(self.controller, index) || network.loses(dice) {
                return;
            }
            if network.doubles(dice) {
                self.host.obey(set.clone(), &self.handle);
            }
            if self.host.obey(set, &self.handle) {
                self.fence.ordered(opened);
            }
        }
    }

    async fn report(self, stop: Stop) {
        let mut dice = self.dice("reports");
        let mut told = self.handle.told();
        loop {
            let now = told.borrow_and_update().clone();
            if now.is_settled {
                tokio::select! {
                    biased;
                    () = stop.wait() => return,
                    () = self.report_once(&now, &mut dice) => {}
                }
            }
            tokio::select! {
                biased;
                () = stop.wait() => return,
                changed = told.changed() => match changed {
                    Ok(()) => tokio::time::sleep(GATHER).await,
                    Err(_) => return,
                },
                () = tokio::time::sleep(REPORT_EVERY) => {}
            }
        }
    }

    async fn report_once(&self, told: &Told, dice: &mut Dice) {
        let Shared { ground, index, .. } = &*self.host.0;
        let (report, sent) = (self.host.tell(told), self.clock.monotonic());
        tokio::time::sleep(ground.network.latency(self.number(), dice)).await;
        if !ground.network.passes(*index, self.controller) || ground.network.loses(dice) {
            return;
        }
        let Some(life) = self.host.0.brains[self.controller].life() else { return };
        let peer = self.peer();
        if !is_admitted(&life.mind.view.borrow().snapshot.specs, &peer) {
            return;
        }
        let times = if ground.network.doubles(dice) { 2 } else { 1 };
        for _ in 0..times {
            if let Err(refused) = life.mind.nodes.report(&peer, &report) {
                ground.trace.breaks("reports are taken", refused.to_string());
            }
        }
        ground.truth.hears(self.controller, Voice::Agent, *index);
        if life.mind.leader.is_leading() && ground.network.passes(self.controller, *index) {
            self.fence.acknowledged(sent);
        }
        let gone = told.statuses.iter().filter(|(_, status)| status.phase == Phase::Gone);
        gone.for_each(|(unit, _)| ground.truth.told_gone(self.controller, unit));
    }
}

/// Ends when a connection does: with the controller's life, or when nothing passed for a while.
pub async fn broken(ground: Ground, controller: usize, node: usize, life: &Arc<Life>) {
    let stop = life.stop.clone();
    let mut silent = 0;
    while silent < SILENT_LOOKS {
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        silent = if ground.network.is_open(controller, node) { 0 } else { silent + 1 };
    }
}
