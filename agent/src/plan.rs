//! What to do next on this node: a pure function of the orders, the containers there are, and what is remembered.
//!
//! Each step is complete in itself. Steps that only change what is remembered are carried out at once; the others run
//! in the background, one per unit at a time. Planning again before anything changed gives nothing new.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use model::{
    name::UnitId,
    time::Time,
    unit::{Desired, Phase},
};

use crate::{
    memory::{FENCED, Memory, NO_ROOM},
    orders::{Order, Orders},
    runtime::{Container, State},
};

/// What is looked at.
pub struct View<'a> {
    /// What shall run.
    pub orders: &'a Orders,
    /// Whether the orders came from the controller during this run. Old orders from disk start units, and end what they
    /// name as ended, but are no ground to end containers they do not name.
    pub is_live: bool,
    /// What containers there are.
    pub containers: &'a [Container],
    /// What is remembered.
    pub memory: &'a BTreeMap<UnitId, Memory>,
    /// Whether all output of an ended container was delivered, or it is too late for it.
    pub is_drained: &'a dyn Fn(&Container) -> bool,
    /// Memory that units may use in all.
    pub capacity_bytes: u64,
    /// Memory used by one-off commands.
    pub sessions_bytes: u64,
    /// Whether exclusive units may run; see `fence.rs`.
    pub is_fence_up: bool,
    /// Now.
    pub now: Time,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Remember that this container is the unit's life.
    Adopt(Container),
    /// Remember that the unit's container vanished.
    Lost(UnitId),
    /// Remember that nothing of the unit is left.
    Gone(UnitId),
    /// Remember that the unit must wait.
    Wait {
        /// Which.
        unit: UnitId,
        /// For what.
        code: &'static str,
        /// Why, in the user's words.
        reason: String,
    },
    /// Make and start a container.
    Start {
        /// For which unit.
        unit: UnitId,
        /// Which attempt it is.
        attempt: u32,
    },
    /// Find out how a container ended.
    Examine(Container),
    /// End a container.
    Stop {
        /// Which.
        container: Container,
        /// How long it may take.
        grace: Duration,
    },
    /// End a container at once, whatever else is being done with it: it may run elsewhere soon.
    Fence(Container),
    /// Remove a container that does not run.
    Remove(Container),
}

/// What to do, and when to look again although nothing happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// When a pause ends.
    pub wake_at: Option<Time>,
}

/// A container nobody knows is given this long to end.
const STRANGER_GRACE: Duration = Duration::from_secs(10);
/// A stopped unit is `Gone` after this even if its last lines are not delivered yet; its ended container stays for them.
pub const GONE_AFTER_MS: u64 = 3_000;

/// Plans the next steps.
pub fn plan(view: &View<'_>) -> Plan {
    let mut planner = Planner { view, used_bytes: used_bytes(view), plan: Plan::default() };
    let mut by_unit: BTreeMap<&UnitId, Vec<&Container>> = BTreeMap::new();
    for container in view.containers {
        by_unit.entry(&container.unit).or_default().push(container);
    }
    for containers in by_unit.values_mut() {
        containers.sort_by_key(|container| container.attempt);
    }
    let fenced = planner.fence();
    // The oldest first, so that a full node serves what it served before.
    let mut orders: Vec<&Order> = view.orders.units.values().collect();
    orders.sort_by_key(|order| (order.unit.created, &order.unit.id));
    let none = Vec::new();
    for order in orders {
        let containers = by_unit.get(&order.unit.id).unwrap_or(&none);
        match view.memory.get(&order.unit.id) {
            Some(memory) if memory.is_busy() || fenced.contains(&order.unit.id) => {}
            Some(memory) if order.shall_stop() => planner.end(order, memory, containers),
            Some(memory) => planner.run(order, memory, containers),
            // The engine remembers a unit before it plans for it.
            None => {}
        }
    }
    if view.is_live {
        for (unit, containers) in &by_unit {
            let is_busy =
                fenced.contains(unit) || view.memory.get(*unit).is_some_and(Memory::is_busy);
            let is_stranger = !view.orders.units.contains_key(*unit) && !is_busy;
            match view.orders.quarantine.get(*unit).filter(|until| **until > view.now) {
                Some(until) if is_stranger => planner.wake_at(*until),
                None if is_stranger => planner.clear(containers, STRANGER_GRACE),
                Some(_) | None => {}
            }
        }
    }
    planner.plan
}

/// Memory that is spoken for: by what runs, by what is being started, by one-off commands.
pub fn used_bytes(view: &View<'_>) -> u64 {
    let running: Vec<&Container> =
        view.containers.iter().filter(|container| container.state == State::Running).collect();
    let starting = view.orders.units.values().filter(|order| {
        let id = &order.unit.id;
        let is_starting = view.memory.get(id).is_some_and(|memory| {
            memory.is_busy() && matches!(memory.phase, Phase::Starting | Phase::Pulling)
        });
        is_starting && !running.iter().any(|container| container.unit == *id)
    });
    let starting: u64 = starting.map(|order| order.unit.memory_bytes).sum();
    let running: u64 = running.iter().map(|container| container.memory_bytes).sum();
    running.saturating_add(starting).saturating_add(view.sessions_bytes)
}

struct Planner<'a> {
    view: &'a View<'a>,
    used_bytes: u64,
    plan: Plan,
}

impl<'a> Planner<'a> {
    /// Ends what may not run. Gives the units that had such containers: nothing else is done with them now.
    fn fence(&mut self) -> BTreeSet<&'a UnitId> {
        let view = self.view;
        let is_alive = |container: &&Container| {
            container.is_exclusive && container.state == State::Running && !view.is_fence_up
        };
        let mut units = BTreeSet::new();
        for container in view.containers.iter().filter(is_alive) {
            units.insert(&container.unit);
            let memory = view.memory.get(&container.unit);
            let is_ending = memory.is_some_and(|memory| memory.fencing.contains(&container.id));
            if !is_ending {
                self.step(Step::Fence(container.clone()));
            }
        }
        units
    }

    /// A unit that shall run, or run on until it is told to stop.
    fn run(&mut self, order: &Order, memory: &Memory, containers: &[&Container]) {
        let running: Vec<&&Container> =
            containers.iter().filter(|container| container.state == State::Running).collect();
        let Some((current, doubles)) = running.split_last() else {
            return self.restart(order, memory, containers);
        };
        for double in doubles {
            self.stop(double, grace(order));
        }
        if !doubles.is_empty() {
            return;
        }
        // What is made from other orders is not this unit.
        let is_other = self.view.is_live && current.spec != order.spec;
        if is_other || memory.unhealthy.is_some() {
            return self.stop(current, grace(order));
        }
        let address = current.reach.ip.as_ref().map(|ip| format!("{ip}:{}", order.port));
        let is_known = memory.container.as_ref() == Some(&current.id)
            && memory.address == address
            && memory.published == current.reach.published;
        if !is_known {
            self.step(Step::Adopt((**current).clone()));
        }
        self.remove_all(containers.iter().filter(|container| container.attempt < current.attempt));
    }

    /// A unit of which nothing runs.
    fn restart(&mut self, order: &Order, memory: &Memory, containers: &[&Container]) {
        let ended = containers.iter().filter(|container| container.state == State::Exited);
        let last = ended.max_by_key(|container| container.attempt);
        if let Some(last) = last.filter(|last| last.attempt > memory.ended_attempt) {
            return self.step(Step::Examine((**last).clone()));
        }
        if memory.container.is_some() {
            return self.step(Step::Lost(order.unit.id.clone()));
        }
        // The last one stays until the next one runs: it tells a restarted agent what happened.
        let is_last =
            |container: &Container| last.is_some_and(|last| last.attempt == container.attempt);
        self.remove_all(containers.iter().filter(|container| !is_last(container)));
        let is_wanted = matches!(order.unit.desired, Desired::Run);
        if memory.phase == Phase::Finished || !is_wanted {
            return;
        }
        if let Some(at) = memory.retry_at.filter(|at| *at > self.view.now) {
            self.wake_at(at);
            return;
        }
        self.start(order, memory, containers);
    }

    fn start(&mut self, order: &Order, memory: &Memory, containers: &[&Container]) {
        let unit = order.unit.id.clone();
        if order.unit.exclusive && !self.view.is_fence_up {
            if !memory.waits_for(FENCED) {
                let reason = "may run only once and waits for a leading controller".to_owned();
                self.step(Step::Wait { unit, code: FENCED, reason });
            }
            return;
        }
        let after = self.used_bytes.saturating_add(order.unit.memory_bytes);
        if after > self.view.capacity_bytes {
            if !memory.waits_for(NO_ROOM) {
                let free = self.view.capacity_bytes.saturating_sub(self.used_bytes) >> 20;
                let needed = order.unit.memory_bytes >> 20;
                let reason = format!("needs {needed} MiB of memory, the node has {free} MiB left");
                self.step(Step::Wait { unit, code: NO_ROOM, reason });
            }
            return;
        }
        self.used_bytes = after;
        let seen = containers.iter().map(|container| container.attempt).max().unwrap_or(0);
        self.step(Step::Start { unit, attempt: seen.max(memory.ended_attempt).saturating_add(1) });
    }

    /// A unit that shall end.
    fn end(&mut self, order: &Order, memory: &Memory, containers: &[&Container]) {
        self.clear(containers, grace(order));
        let is_running = containers.iter().any(|container| container.state == State::Running);
        let stopped_at = memory.stopped_at.unwrap_or(memory.since);
        let is_stopped_long =
            memory.phase == Phase::Stopping && self.view.now.since_ms(stopped_at) >= GONE_AFTER_MS;
        if memory.phase == Phase::Stopping && !is_running && !is_stopped_long {
            self.wake_at(stopped_at.plus_ms(GONE_AFTER_MS));
        }
        if memory.phase != Phase::Gone && !is_running && (containers.is_empty() || is_stopped_long)
        {
            self.step(Step::Gone(order.unit.id.clone()));
        }
    }

    /// Ends and removes everything there is of a unit: one running container at a time, then the rest.
    fn clear(&mut self, containers: &[&Container], grace: Duration) {
        let running = containers.iter().find(|container| container.state == State::Running);
        match running {
            Some(running) => self.stop(running, grace),
            None => self.remove_all(containers.iter()),
        }
    }

    /// Removes those whose output was delivered; the others are looked at again later.
    fn remove_all<'c>(&mut self, containers: impl Iterator<Item = &'c &'c Container>) {
        for container in containers {
            match container.state {
                State::Running => {}
                State::Exited if !(self.view.is_drained)(container) => {}
                State::Created | State::Exited => self.step(Step::Remove((*container).clone())),
            }
        }
    }

    fn stop(&mut self, container: &Container, grace: Duration) {
        self.step(Step::Stop { container: container.clone(), grace });
    }

    fn wake_at(&mut self, at: Time) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }
}

fn grace(order: &Order) -> Duration {
    Duration::from_secs(u64::from(order.stop_grace_seconds))
}

#[cfg(test)]
mod tests;
