//! The task that owns everything known of this node's units: it looks, plans, has steps carried out, and tells statuses.

mod begin;
mod hear;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use model::{
    name::UnitId,
    time::Time,
    unit::{Phase, UnitStatus},
};
use service::{Clock, Stop, Tasks};
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    fence::Fence,
    logs::Lines,
    memory::Memory,
    orders::Orders,
    plan::{self, Plan, View},
    room::Room,
    runtime::{Container, Runtime, RuntimeError, State},
};
use work::{Event, Worker};

/// The longest time without a look at the containers.
const PERIOD: Duration = Duration::from_secs(5);
/// After a failed look.
const RETRY: Duration = Duration::from_millis(500);
/// A look that takes longer counts as failed.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Events that wait for the engine.
const EVENTS: usize = 256;
/// Nothing is told before the units found running were asked how they are, but no longer than this.
const SETTLE_MS: u64 = 3_000;
/// Ended containers whose output cannot be delivered are kept this long.
const KEEP_ENDED_MS: u64 = 3_600_000;

/// What the engine works with.
pub struct Parts {
    /// The containers.
    pub runtime: Arc<dyn Runtime>,
    /// Their output.
    pub lines: Arc<dyn Lines>,
    /// Memory of the node.
    pub room: Room,
    /// Time.
    pub clock: Clock,
    /// Whether exclusive units may run.
    pub fence: Fence,
    /// Wakes the engine, for others.
    pub kick: Arc<Notify>,
}

/// Orders, and whether the controller gave them during this run.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// What to run.
    pub orders: Arc<Orders>,
    /// From a stream, not from disk.
    pub is_live: bool,
}

/// What the engine tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether this is the truth yet: a starting agent has to look first.
    pub is_settled: bool,
    /// Every unit known.
    pub statuses: BTreeMap<UnitId, UnitStatus>,
    /// The version of the orders in force.
    pub applied_version: u64,
    /// Why containers cannot be seen to, if so.
    pub trouble: Option<String>,
    /// What runs although the orders do not name it.
    pub left_running: LeftRunning,
}

/// Units in quarantine of which something runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftRunning {
    /// Until when.
    pub until: BTreeMap<UnitId, Time>,
    /// The memory they hold.
    pub bytes: u64,
}

/// The handle: orders in, statuses out.
#[derive(Debug, Clone)]
pub struct Handle {
    given: watch::Sender<Given>,
    told: watch::Receiver<Told>,
}

impl Handle {
    /// Gives orders.
    pub fn give(&self, orders: Orders, is_live: bool) {
        self.given.send_replace(Given { orders: Arc::new(orders), is_live });
    }

    /// The orders given last.
    pub fn given(&self) -> Given {
        self.given.borrow().clone()
    }

    /// What is told, now and as it changes.
    pub fn told(&self) -> watch::Receiver<Told> {
        self.told.clone()
    }
}

/// The engine itself.
pub struct Engine {
    parts: Parts,
    worker: Worker,
    given: watch::Receiver<Given>,
    told: watch::Sender<Told>,
    events: mpsc::Receiver<Event>,
    tasks: Tasks,
    memory: BTreeMap<UnitId, Memory>,
    watches: BTreeMap<UnitId, Watch>,
    starting: BTreeMap<UnitId, Stop>,
    ended_since: BTreeMap<String, Time>,
    /// Containers whose output is seen to.
    followed: BTreeSet<String>,
    /// Containers found running by the first look whose first answer is awaited.
    unasked: BTreeSet<String>,
    started: Time,
    has_looked: bool,
    trouble: Option<String>,
    left_running: LeftRunning,
}

/// A running health check; it ends when this is dropped.
struct Watch {
    container: String,
    address: String,
    stop: Stop,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl Engine {
    /// An engine and its handle. Background work is spawned on `tasks`.
    pub fn new(parts: Parts, tasks: Tasks) -> (Engine, Handle) {
        let (given_sender, given) = watch::channel(Given::default());
        let (told, told_receiver) = watch::channel(Told::default());
        let (sender, events) = mpsc::channel(EVENTS);
        let worker = Worker::new(parts.runtime.clone(), sender);
        let started = Time(parts.clock.now_ms());
        let engine = Engine {
            parts,
            worker,
            given,
            told,
            events,
            tasks,
            memory: BTreeMap::new(),
            watches: BTreeMap::new(),
            starting: BTreeMap::new(),
            ended_since: BTreeMap::new(),
            followed: BTreeSet::new(),
            unasked: BTreeSet::new(),
            started,
            has_looked: false,
            trouble: None,
            left_running: LeftRunning::default(),
        };
        (engine, Handle { given: given_sender, told: told_receiver })
    }

    /// Runs until `stop`. Containers run on.
    pub async fn run(mut self, stop: Stop) {
        let runtime = self.parts.runtime.clone();
        let kick = self.parts.kick.clone();
        self.tasks.spawn("container events", {
            let (kick, stop) = (kick.clone(), stop.clone());
            async move {
                loop {
                    tokio::select! {
                        biased;
                        () = stop.wait() => return,
                        () = runtime.changed() => kick.notify_one(),
                    }
                }
            }
        });
        loop {
            let wait = self.pass().await;
            self.tell();
            if !self.until_woken(wait, &kick, &stop).await {
                return;
            }
        }
    }

    /// Takes events until something asks for a pass. False: stopped.
    async fn until_woken(&mut self, wait: Duration, kick: &Notify, stop: &Stop) -> bool {
        let pause = tokio::time::sleep(wait);
        tokio::pin!(pause);
        loop {
            let needs_pass = tokio::select! {
                biased;
                () = stop.wait() => return false,
                () = &mut pause => true,
                () = kick.notified() => true,
                changed = self.given.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    true
                }
                Some(event) = self.events.recv() => self.take_all(event),
            };
            self.tell();
            if needs_pass {
                return true;
            }
        }
    }

    /// Takes an event and all that wait behind it. True: a pass is needed.
    fn take_all(&mut self, first: Event) -> bool {
        let mut needs_pass = self.take(first);
        while let Ok(event) = self.events.try_recv() {
            needs_pass |= self.take(event);
        }
        needs_pass
    }

    /// Looks, plans and begins steps. Returns how long nothing needs to happen.
    async fn pass(&mut self) -> Duration {
        let given = self.given.borrow_and_update().clone();
        self.remember(&given.orders);
        let runtime = self.parts.runtime.clone();
        let looked = tokio::time::timeout(LOOK_TIMEOUT, runtime.list()).await;
        let looked = looked
            .unwrap_or_else(|_| Err(RuntimeError::Unavailable("it does not answer".to_owned())));
        // What happened during the look is known before anything is planned; what it changed is seen by the next look.
        let mut is_outdated = false;
        while let Ok(event) = self.events.try_recv() {
            is_outdated |= self.take(event);
        }
        let containers = match looked {
            Ok(containers) => containers,
            Err(error) => {
                self.set_trouble(Some(format!("failed to {error}")));
                return RETRY;
            }
        };
        self.set_trouble(None);
        if is_outdated {
            return Duration::ZERO;
        }
        self.follow(&containers);
        self.left_running = left_running(&given.orders, &containers, self.now());
        let plan = self.plan(&given, &containers);
        for step in plan.steps {
            self.begin(step, &given.orders);
        }
        self.forget(&given.orders, &containers);
        self.has_looked = true;
        let now = self.now();
        let until = plan.wake_at.map_or(PERIOD, |at| Duration::from_millis(at.since_ms(now)));
        // The fall of the fence is looked at when it happens.
        until.min(PERIOD).min(self.parts.fence.left().unwrap_or(PERIOD))
    }

    fn plan(&self, given: &Given, containers: &[Container]) -> Plan {
        let now = self.now();
        let is_drained = |container: &Container| {
            let since = self.ended_since.get(&container.id).copied().unwrap_or(now);
            self.parts.lines.is_drained(&container.id) || now.since_ms(since) >= KEEP_ENDED_MS
        };
        let view = View {
            orders: &given.orders,
            is_live: given.is_live,
            containers,
            memory: &self.memory,
            is_drained: &is_drained,
            capacity_bytes: self.parts.room.capacity_bytes(),
            sessions_bytes: self.parts.room.sessions_bytes(),
            is_fence_up: self.parts.fence.is_up(),
            now,
        };
        self.parts.room.set_units(plan::used_bytes(&view));
        plan::plan(&view)
    }

    fn remember(&mut self, orders: &Orders) {
        let now = self.now();
        for (id, order) in &orders.units {
            let memory = self.memory.entry(id.clone()).or_insert_with(|| Memory::new(now));
            if order.shall_stop() && memory.phase != Phase::Gone {
                memory.enter(Phase::Stopping, now);
            }
            let may_start =
                !order.shall_stop() && (!order.unit.exclusive || self.parts.fence.is_up());
            if may_start {
                continue;
            }
            if let Some(starting) = self.starting.get(id) {
                starting.set();
            }
        }
        for (id, starting) in &self.starting {
            if !orders.units.contains_key(id) {
                starting.set();
            }
        }
    }

    /// Sees to the output of every container, and to how long ended ones have been there.
    fn follow(&mut self, containers: &[Container]) {
        let now = self.now();
        for container in containers.iter().filter(|found| found.state != State::Created) {
            if self.followed.insert(container.id.clone()) {
                self.parts.lines.follow(container);
            }
            if container.state == State::Exited {
                self.ended_since.entry(container.id.clone()).or_insert(now);
            }
        }
    }

    /// Drops what is remembered of units that are neither ordered nor there.
    fn forget(&mut self, orders: &Orders, containers: &[Container]) {
        let alive: BTreeSet<&UnitId> = containers.iter().map(|container| &container.unit).collect();
        self.memory.retain(|id, memory| {
            orders.units.contains_key(id) || memory.is_busy() || alive.contains(id)
        });
        let ids: BTreeSet<&String> = containers.iter().map(|container| &container.id).collect();
        self.ended_since.retain(|id, _| ids.contains(id));
        self.followed.retain(|id| {
            let is_there = ids.contains(id);
            if !is_there {
                self.parts.lines.forget(id);
            }
            is_there
        });
        let memory = &self.memory;
        self.watches.retain(|unit, watch| {
            memory
                .get(unit)
                .is_some_and(|memory| memory.container.as_ref() == Some(&watch.container))
        });
    }

    fn work(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.stop().clone();
        self.tasks.spawn(name, async move {
            // The engine carries a begun call through without us; the next run sees what came of it.
            tokio::select! {
                biased;
                () = stop.wait() => {}
                () = work => {}
            }
        });
    }

    fn with(&mut self, unit: &UnitId, change: impl FnOnce(&mut Memory)) {
        if let Some(memory) = self.memory.get_mut(unit) {
            change(memory);
        }
    }

    fn set_trouble(&mut self, trouble: Option<String>) {
        if self.trouble != trouble {
            match &trouble {
                Some(trouble) => tracing::error!(trouble, "units cannot be seen to"),
                None => tracing::info!("the Docker Engine answers again"),
            }
            self.trouble = trouble;
        }
    }

    fn tell(&mut self) {
        let is_late = self.now().since_ms(self.started) >= SETTLE_MS;
        let told = Told {
            is_settled: is_late || (self.has_looked && self.unasked.is_empty()),
            statuses: self
                .memory
                .iter()
                .map(|(id, memory)| (id.clone(), memory.status()))
                .collect(),
            applied_version: self.given.borrow().orders.version,
            trouble: self.trouble.clone(),
            left_running: self.left_running.clone(),
        };
        self.told.send_if_modified(|before| {
            let is_new = *before != told;
            *before = told;
            is_new
        });
    }

    fn now(&self) -> Time {
        Time(self.parts.clock.now_ms())
    }
}

fn left_running(orders: &Orders, containers: &[Container], now: Time) -> LeftRunning {
    let mut left = LeftRunning::default();
    for container in containers.iter().filter(|container| container.state == State::Running) {
        if let Some(until) = orders.quarantine.get(&container.unit).filter(|until| **until > now) {
            left.until.insert(container.unit.clone(), *until);
            left.bytes = left.bytes.saturating_add(container.memory_bytes);
        }
    }
    left
}
