//! A small router: takes tables from every controller, serves from the newest, and has requests in flight to what leaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controller::admission::is_admitted;
use futures_util::StreamExt;
use model::name::UnitId;
use model::route::{RouteTable, RouterStatus};
use model::time::Time;
use proto::gateway::RouterReport;
use service::Stop;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::brain::{Brain, Ground};
use crate::dice::Dice;
use crate::host::{broken, name, peer};
use crate::truth::Voice;

/// Router links are told apart from those of agents.
const FIRST_LINK: u64 = 16;
/// How often the status is told.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Before asking for tables anew.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// A router. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Shared>);

struct Shared {
    index: usize,
    brains: Vec<Brain>,
    ground: Ground,
    /// What it serves from; kept while it is down.
    table: Mutex<Option<Arc<RouteTable>>>,
    state: Mutex<State>,
    applied: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    stop: Option<Stop>,
    lives: u64,
    /// Requests in flight to units that left, and until when.
    in_flight: BTreeMap<UnitId, (u32, Instant)>,
}

impl Edge {
    /// Down, without a table.
    pub fn new(index: usize, brains: Vec<Brain>, ground: Ground) -> Edge {
        let (table, state, applied) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Edge(Arc::new(Shared { index, brains, ground, table, state, applied }))
    }

    /// Starts it, with the table it had.
    pub fn start(&self) {
        let mut state = self.state();
        if state.stop.is_some() {
            return;
        }
        let stop = Stop::new();
        state.stop = Some(stop.clone());
        state.lives += 1;
        state.in_flight.clear();
        let life = state.lives;
        drop(state);
        if let Some(table) = self.table() {
            self.0.ground.truth.serves_again(self.0.index, table);
        }
        for controller in 0..self.0.brains.len() {
            let number = (self.0.index * self.0.brains.len() + controller) as u64;
            let dice = |part| Dice::of(self.0.ground.seed, part, &[number, life]);
            let link = FIRST_LINK + number;
            tokio::spawn(self.clone().follow(controller, link, dice("tables"), stop.clone()));
            tokio::spawn(self.clone().report(controller, link, dice("status"), stop.clone()));
        }
    }

    /// Ends it; the table stays on its disk.
    pub fn stop(&self) {
        if let Some(stop) = self.state().stop.take() {
            stop.set();
            self.0.ground.truth.serves_nothing(self.0.index);
        }
    }

    /// Forgets the table, as another machine does.
    pub fn wipe(&self) {
        *self.0.table.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The table in force.
    pub fn table(&self) -> Option<Arc<RouteTable>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(self, controller: usize, link: u64, mut dice: Dice, stop: Stop) {
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = self.follow_once(controller, link, &mut dice) => {}
            }
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = tokio::time::sleep(ASK_AGAIN + dice.millis(0, 200)) => {}
            }
        }
    }

    async fn follow_once(&self, controller: usize, link: u64, dice: &mut Dice) {
        let Shared { index, ground, .. } = &*self.0;
        let Some(life) = self.0.brains[controller].life() else { return };
        if !ground.network.is_open(controller, *index) {
            return;
        }
        let router = peer("router", *index, &ground.network);
        if !is_admitted(&life.mind.view.borrow().snapshot.specs, &router) {
            return;
        }
        let mut tables = Box::pin(life.mind.routers.tables(name(*index)));
        let mut broken = Box::pin(broken(ground.clone(), controller, *index, &life));
        loop {
            let table = tokio::select! {
                biased;
                () = &mut broken => return,
                table = tables.next() => table,
            };
            let Some(Ok(table)) = table else { return };
            tokio::time::sleep(ground.network.latency(link, dice)).await;
            if !ground.network.passes(controller, *index) || ground.network.loses(dice) {
                return;
            }
            match serde_json::from_str::<RouteTable>(&table.table_json) {
                Ok(table) => self.apply(table, dice),
                Err(error) => ground.trace.breaks("tables can be read", error.to_string()),
            }
        }
    }

    fn apply(&self, table: RouteTable, dice: &mut Dice) {
        let mut kept = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.clone();
        let is_old = before
            .as_ref()
            .is_some_and(|it| (table.epoch, table.version) <= (it.epoch, it.version));
        if is_old {
            return;
        }
        let table = Arc::new(table);
        *kept = Some(table.clone());
        drop(kept);
        let units = |table: &RouteTable| -> Vec<UnitId> {
            let all = table.apps.iter().flat_map(|app| &app.units);
            all.map(|endpoint| endpoint.unit.clone()).collect()
        };
        let after = units(&table);
        let left = before.iter().flat_map(|table| units(table));
        let mut state = self.state();
        for unit in left.filter(|unit| !after.contains(unit)) {
            if dice.percent(40) {
                let lasts = if dice.percent(5) { 40_000 } else { 4_000 };
                let until = Instant::now() + dice.millis(1, lasts);
                state.in_flight.insert(unit, (dice.between(1, 3) as u32, until));
            }
        }
        drop(state);
        let text = format!("r{} serves {} units", self.0.index, after.len());
        self.0.ground.trace.say(text);
        self.0.ground.truth.serves(self.0.index, table);
        self.0.applied.send_modify(|count| *count += 1);
    }

    async fn report(self, controller: usize, link: u64, mut dice: Dice, stop: Stop) {
        let mut applied = self.0.applied.subscribe();
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = self.report_once(controller, link, &mut dice) => {}
            }
            tokio::select! {
                biased;
                () = stop.wait() => return,
                Ok(()) = applied.changed() => {}
                () = tokio::time::sleep(REPORT_EVERY) => {}
            }
        }
    }

    async fn report_once(&self, controller: usize, link: u64, dice: &mut Dice) {
        let Shared { index, ground, .. } = &*self.0;
        let Some(table) = self.table() else { return };
        let draining = {
            let mut state = self.state();
            let now = Instant::now();
            state.in_flight.retain(|_, (_, until)| *until > now);
            state.in_flight.iter().map(|(unit, (count, _))| (unit.clone(), *count)).collect()
        };
        let status =
            RouterStatus { epoch: table.epoch, version: table.version, draining, heard: Time(0) };
        let status_json = serde_json::to_string(&status).expect("a status is plain data");
        let report = RouterReport { node: name(*index).to_string(), status_json };
        tokio::time::sleep(ground.network.latency(link, dice)).await;
        if !ground.network.passes(*index, controller) || ground.network.loses(dice) {
            return;
        }
        let Some(life) = self.0.brains[controller].life() else { return };
        let router = peer("router", *index, &ground.network);
        if !is_admitted(&life.mind.view.borrow().snapshot.specs, &router) {
            return;
        }
        let times = if ground.network.doubles(dice) { 2 } else { 1 };
        for _ in 0..times {
            if let Err(refused) = life.mind.routers.report(&report) {
                ground.trace.breaks("reports are taken", refused.to_string());
            }
        }
        ground.truth.hears(controller, Voice::Router, *index);
    }
}
