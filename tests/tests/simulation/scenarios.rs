//! Faults that have names, each with its promise: those of the list in the design that need no real processes.

mod changes;
mod links;
mod machines;
mod memory;
mod volumes;

use std::collections::BTreeMap;
use std::time::Duration;

use model::app::{App, Class};
use model::name::{AppName, UnitId};
use model::unit::Unit;
use tokio::time::Instant;

use crate::people::{Act, Quality, process};
use crate::world::World;

/// How many units the app of these stories has.
const COUNT: usize = 3;

/// A cluster of three nodes with one app that serves.
struct Cluster {
    world: World,
    app: AppName,
}

impl Cluster {
    async fn serving() -> Cluster {
        Cluster::with_memory(1 << 30).await
    }

    /// Each node has so much.
    async fn with_memory(bytes: u64) -> Cluster {
        let world = World::new(1, &[bytes; 3]);
        let cluster = Cluster { world, app: "shop".parse().unwrap() };
        cluster.within(10, "somebody leads", |it| it.world.leader().is_some()).await;
        cluster.serve(&cluster.app, Class::Standard, COUNT as u32).await;
        cluster
    }

    /// One more app that serves.
    async fn serve(&self, app: &AppName, class: Class, count: u32) {
        let counts = BTreeMap::from([(process("web"), count)]);
        let acts = [Act::Create, Act::Classify(class), push(1, Quality::Good), Act::Scale(counts)];
        for act in acts {
            self.done_for(app, act).await;
        }
        assert_eq!(self.world.settles().await, Ok(()));
    }

    fn ask(&self, act: Act) {
        let leader = self.world.leader().expect("somebody leads");
        self.world.ask(leader, &self.app, act);
    }

    /// Asks, and waits until the change came to its end.
    async fn done(&self, act: Act) {
        self.done_for(&self.app, act).await;
    }

    async fn done_for(&self, app: &AppName, act: Act) {
        self.world.ask(self.world.leader().expect("somebody leads"), app, act);
        self.world.pass(Duration::from_millis(200)).await;
        self.within(60, "the change ends", Cluster::is_settled).await;
    }

    fn is_settled(&self) -> bool {
        let documents = self.world.ground.ledger.documents();
        documents.apps.contains_key(&self.app) && documents.apps.values().all(App::is_settled)
    }

    /// Whether somebody was told this since a line of the trace.
    fn was_told(&self, since: usize, text: &str) -> bool {
        self.told()[since..].iter().any(|line| line.contains(text))
    }

    fn told(&self) -> Vec<String> {
        self.world.ground.trace.lines()
    }

    async fn within(&self, seconds: u64, what: &str, is_so: impl Fn(&Cluster) -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !is_so(self) {
            let trace = self.world.ground.trace.lines();
            let last = trace[trace.len().saturating_sub(60)..].join("\n");
            assert_eq!(self.world.ground.trace.broken(), None, "{last}");
            assert!(Instant::now() < end, "{what}: not within {seconds} s\n{last}");
            self.world.pass(Duration::from_millis(100)).await;
        }
    }

    /// Lets time pass, and keeps a promise all the while.
    async fn during(&self, seconds: u64, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            self.world.pass(Duration::from_millis(100)).await;
            let trace = self.world.ground.trace.lines();
            let last = trace[trace.len().saturating_sub(60)..].join("\n");
            assert_eq!(self.world.ground.trace.broken(), None, "{last}");
            assert!(holds(self), "{what}\n{last}");
        }
    }

    fn units(&self) -> BTreeMap<UnitId, Unit> {
        self.world.ground.ledger.documents().units.clone()
    }

    fn well(&self) -> usize {
        self.world.well().len()
    }

    /// How many units of an app are well.
    fn well_of(&self, app: &AppName) -> usize {
        let of = format!("{app}-");
        self.world.well().iter().filter(|unit| unit.as_str().starts_with(&of)).count()
    }

    /// Units of an app, on a node.
    fn on(&self, node: usize) -> usize {
        let name = self.world.hosts[node].name();
        self.units().values().filter(|unit| unit.node == *name).count()
    }

    /// Containers started and stopped so far, wherever.
    fn calls(&self, what: &str) -> usize {
        let calls = self.world.hosts.iter().flat_map(|host| host.runtime().calls());
        calls.filter(|call| call.starts_with(what)).count()
    }

    /// A node with units whose controller does not lead.
    fn bystander(&self) -> usize {
        let leader = self.world.leader().expect("somebody leads");
        (0..3).find(|node| *node != leader && self.has_units(*node)).expect("units are spread")
    }

    fn has_units(&self, node: usize) -> bool {
        self.on(node) > 0
    }

    /// Everything goes well again, and comes to rest.
    async fn ends_well(self) {
        self.world.heal();
        assert_eq!(self.world.settles().await, Ok(()));
        assert_eq!(self.units().len(), COUNT);
        assert_eq!(self.well(), COUNT);
        assert_eq!(self.world.ground.trace.broken(), None);
    }
}

fn push(build: u64, quality: Quality) -> Act {
    Act::Push { build, quality, has_worker: false, has_release: false }
}
