//! Passes made by hand over a store in memory, with a clock that stands still.

use std::collections::BTreeMap;

use model::app::Scale;
use model::incarnation::Incarnation;
use model::name::{ProcessType, ReleaseNumber};
use model::node::{Addresses, Node, Sight};
use model::release::{Build, Release, ReleaseState};
use model::unit::{Desired, Phase, Unit, UnitKind, UnitStatus};
use service::{ManualClock, Stop};
use store::MemoryStore;

use super::*;
use crate::leader::{Leader, Signs};
use crate::mind::RandomIds;
use crate::outside::Nobody;
use crate::records::{Records, Write};
use crate::seal::Seal;

const START_MS: u64 = 1_000_000;

struct World {
    records: Records,
    observer: Arc<Observer>,
    heard: Heard,
    planner: Planner,
    clock: ManualClock,
    view: watch::Receiver<View>,
    stop: Stop,
    /// What every node that is heard sees of another.
    sees: Option<(NodeName, Sight)>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.set();
    }
}

fn app() -> App {
    let mut app = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(0));
    let scale = Scale { count: 2, changed: Time(START_MS), ..Scale::default() };
    app.formation.insert("worker".parse().unwrap(), scale);
    app.current = Some(ReleaseNumber(1));
    app.generation = 1;
    app
}

fn release() -> Release {
    Release {
        app: "shop".parse().unwrap(),
        number: ReleaseNumber(1),
        created: Time(0),
        created_by: "olga".parse().unwrap(),
        summary: String::new(),
        build: Some(Build {
            image: "shop@sha256:1".to_owned(),
            commit: None,
            processes: BTreeMap::from([("worker".parse().unwrap(), None)]),
            exposed_port: None,
        }),
        config: BTreeMap::new(),
        settings: BTreeMap::new(),
        state: ReleaseState::Succeeded,
    }
}

/// A unit of an older restart, which is to go when the others are ready.
fn old_unit(node: &str) -> Unit {
    Unit {
        exclusive: false,
        mounts: BTreeMap::new(),
        id: format!("old-{node}").parse().unwrap(),
        app: "shop".parse().unwrap(),
        process: "gone".parse::<ProcessType>().unwrap(),
        ordinal: 1,
        release: ReleaseNumber(1),
        epoch: 0,
        kind: UnitKind::Service,
        node: node.parse().unwrap(),
        memory_bytes: 1,
        created: Time(0),
        desired: Desired::Run,
    }
}

impl World {
    async fn new(units: &[Unit]) -> World {
        let records = Records::new(Arc::new(MemoryStore::new()));
        let mut write = Write::new().create(&app()).create(&release());
        for unit in units {
            write = write.create(unit);
        }
        records.commit(write).await.unwrap();
        let leader = Leader::new(records.clone(), "n1");
        leader.take(Signs::default()).await.unwrap();
        let observer = Arc::new(Observer::start(records.clone()).await.unwrap());
        let (clock, stop) = (ManualClock::new(START_MS), Stop::new());
        let tasks = Tasks::new(stop.clone());
        let (sender, view) = watch::channel(View::default());
        let heard = Heard::since(Time(START_MS));
        let planner = Planner::new(Parts {
            observer: observer.clone(),
            heard: heard.clone(),
            applier: Applier { records: records.clone(), leader },
            tables: Tables::new(Arc::new(Seal::new(&[7; 32])), Incarnation::default()),
            view: sender,
            rules: Rules { default_memory_bytes: 1 },
            node: "n1".parse().unwrap(),
            domain: "apps.localhost".to_owned(),
            clock: clock.clock(),
            ids: Box::new(RandomIds),
            outside: Arc::new(Nobody),
            tasks,
            wake: Wake::new(),
        });
        World { records, observer, heard, planner, clock, view, stop, sees: None }
    }

    fn follow(&self) {
        tokio::spawn(self.observer.clone().follow(Wake::new(), self.stop.clone()));
    }

    /// A node says that all its units are in a phase.
    async fn hear(&self, node: &str, phase: Phase) {
        let status = UnitStatus {
            published: None,
            phase,
            address: None,
            restarts: 0,
            since: Time(0),
            trouble: None,
        };
        let units = self.units().await.into_iter().filter(|unit| unit.node.as_str() == node);
        let statuses = units.map(|unit| (unit.id, status.clone())).collect();
        let node = Node {
            sights: self.sees.clone().into_iter().collect(),
            left_running: BTreeMap::new(),
            name: node.parse().unwrap(),
            addresses: Addresses::default(),
            memory_bytes: 100,
            sessions_bytes: 0,
            cpu_millis: 1000,
            disk_free_bytes: 0,
            version: String::new(),
            clock_ahead_ms: 0,
            trouble: None,
            heard: Time(self.clock.clock().now_ms()),
        };
        self.heard.node(node, statuses);
    }

    async fn units(&self) -> Vec<Unit> {
        let units = self.records.all::<Unit>().await.unwrap();
        units.into_iter().map(|unit| unit.value).collect()
    }

    async fn revision(&self) -> u64 {
        self.records.store().list("").await.unwrap().revision.0
    }
}

#[tokio::test]
async fn a_second_pass_over_an_unchanged_world_writes_nothing() {
    let mut world = World::new(&[]).await;
    world.follow();
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert_eq!(world.units().await.len(), 2);
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert!(world.records.app(&app().name).await.unwrap().unwrap().value.is_settled());
    let before = world.revision().await;
    world.planner.pass().await.unwrap();
    world.clock.advance(IDLE_PERIOD);
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert_eq!(world.revision().await, before);
}

#[tokio::test]
async fn no_decision_is_made_before_the_last_one_is_seen() {
    let mut world = World::new(&[]).await;
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert_eq!(world.units().await.len(), 2);
    // Nothing follows the store: the image does not show the two units yet.
    let blind = tokio::time::timeout(Duration::from_millis(300), world.planner.pass()).await;
    assert!(blind.is_err(), "{blind:?}");
    assert_eq!(world.units().await.len(), 2);
    world.follow();
    world.planner.pass().await.unwrap();
    assert_eq!(world.units().await.len(), 2);
}

#[tokio::test]
async fn an_idle_world_is_left_alone_until_something_happens() {
    let mut world = World::new(&[]).await;
    world.follow();
    // Long after the start: nobody waits for nodes that were never heard.
    world.clock.advance(Duration::from_secs(61));
    for _ in 0..3 {
        world.hear("n1", Phase::Ready).await;
        world.planner.pass().await.unwrap();
    }
    // The settling itself is seen.
    let settled = world.revision().await;
    world.observer.caught_up(settled).await.unwrap();
    world.planner.pass().await.unwrap();
    world.view.mark_unchanged();
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(1));
        world.hear("n1", Phase::Ready).await;
        world.planner.pass().await.unwrap();
    }
    assert!(!world.view.has_changed().unwrap());
    world.hear("n1", Phase::Backoff).await;
    world.planner.pass().await.unwrap();
    assert!(world.view.has_changed().unwrap());
}

#[tokio::test]
async fn nothing_is_planned_before_the_nodes_of_units_are_heard_or_the_grace_has_passed() {
    let mut world = World::new(&[old_unit("n1"), old_unit("n2")]).await;
    world.follow();
    let before = world.revision().await;
    world.planner.pass().await.unwrap();
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert_eq!(world.revision().await, before);
    assert!(!world.view.borrow().is_warm);
    world.clock.advance(START_GRACE);
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert!(world.view.borrow().is_warm);
    assert_eq!(world.units().await.len(), 4);
}

#[tokio::test]
async fn an_idle_world_is_looked_at_when_a_node_falls_silent() {
    let mut world = World::new(&[]).await;
    world.follow();
    for _ in 0..3 {
        world.hear("n1", Phase::Ready).await;
        world.planner.pass().await.unwrap();
    }
    let settled = world.revision().await;
    world.observer.caught_up(settled).await.unwrap();
    world.planner.pass().await.unwrap();
    world.view.mark_unchanged();
    world.clock.advance(Duration::from_millis(2_900));
    world.planner.pass().await.unwrap();
    assert!(!world.view.has_changed().unwrap());
    world.clock.advance(Duration::from_millis(200));
    world.planner.pass().await.unwrap();
    assert!(world.view.has_changed().unwrap(), "suspect");
}

#[tokio::test]
async fn units_on_a_silent_node_are_left_alone_as_long_as_a_peer_sees_it() {
    let mut world = World::new(&[old_unit("n1"), old_unit("n2")]).await;
    world.follow();
    world.clock.advance(START_GRACE);
    world.sees = Some(("n2".parse().unwrap(), Sight::Reached));
    for _ in 0..3 {
        world.hear("n1", Phase::Ready).await;
        world.planner.pass().await.unwrap();
    }
    let wanted = async |world: &World, id: &str| {
        world.units().await.iter().any(|unit| unit.id.as_str() == id && unit.is_wanted())
    };
    assert!(!wanted(&world, "old-n1").await);
    assert!(wanted(&world, "old-n2").await);
    world.sees = None;
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert!(!wanted(&world, "old-n2").await);
}

#[tokio::test(start_paused = true)]
async fn listening_began_when_it_did_whatever_the_clock_followed_since() {
    let clock = Clock::steady_from(START_MS);
    let started = clock.monotonic();
    tokio::time::sleep(Duration::from_secs(1)).await;
    clock.follow(START_MS + 3_600_000);
    let now = Time(clock.now_ms());
    assert_eq!(now.since_ms(listening_since(&clock, started, now)), 1_000);
}

#[tokio::test]
async fn a_regent_orders_its_own_node_alone() {
    let mut world = World::new(&[]).await;
    world.follow();
    for node in ["n1", "n2"] {
        world.hear(node, Phase::Ready).await;
        world.planner.pass().await.unwrap();
    }
    let written = world.revision().await;
    world.observer.caught_up(written).await.unwrap();
    world.planner.parts.applier.leader.step_down();
    world.records.doubt().set(true);
    for _ in 0..2 {
        world.hear("n1", Phase::Ready).await;
        world.planner.pass().await.unwrap();
        world.clock.advance(Duration::from_millis(regency::AFTER_MS));
    }
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    let lead = world.view.borrow().lead.clone().expect("it looks after itself");
    let is_for = ["n1", "n2"].map(|node| lead.is_for(&node.parse().unwrap()));
    assert_eq!(is_for, [true, false]);
}

#[tokio::test]
async fn a_controller_that_lost_the_lead_plans_no_more() {
    let mut world = World::new(&[]).await;
    world.follow();
    let rival = Leader::new(world.records.clone(), "n2");
    rival.take(rival.signs().await.unwrap()).await.unwrap();
    world.observer.caught_up(rival.revision()).await.unwrap();
    world.hear("n1", Phase::Ready).await;
    world.planner.pass().await.unwrap();
    assert_eq!(world.view.borrow().lead, None);
    assert!(world.units().await.is_empty());
}
