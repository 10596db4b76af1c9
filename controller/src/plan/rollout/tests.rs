//! A small world in which plans come true: an agent, a router and a clock, stepped by hand.

use std::collections::{BTreeMap, BTreeSet};

use model::app::{Deploy, Scale};
use model::name::{AppName, ProcessType, ReleaseNumber};
use model::node::{Addresses, Duty, Node, NodeSpec};
use model::release::Build;
use model::route::{ROUTER_LOST_AFTER_MS, RouterStatus};
use model::unit::{Trouble, UnitKind, UnitStatus};
use proptest::prelude::*;

use super::*;
use crate::plan::{Ids, Rules, plan};

const MIB: u64 = 1 << 20;
const STEP_MS: u64 = 500;

/// Names in order, so that a failure can be repeated.
#[derive(Default)]
struct Numbers(u32);

impl Ids for Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("{:04}", self.0)
    }
}

/// How units of a release behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Temper {
    Good,
    Crashes,
    NeverReady,
}

struct World {
    snapshot: Snapshot,
    now: Time,
    ids: Numbers,
    tempers: BTreeMap<ReleaseNumber, Temper>,
    release_phase_fails: bool,
    router_is_live: bool,
}

fn name() -> AppName {
    "shop".parse().unwrap()
}

fn web() -> ProcessType {
    ProcessType::web()
}

impl World {
    fn new(memory_mib: u64) -> World {
        let app = App::new(name(), "olga".parse().unwrap(), Time(0));
        let node = Node {
            name: "n1".parse().unwrap(),
            addresses: Addresses::default(),
            sights: BTreeMap::new(),
            left_running: BTreeMap::new(),
            memory_bytes: memory_mib * MIB,
            sessions_bytes: 0,
            cpu_millis: 2000,
            disk_free_bytes: 0,
            version: String::new(),
            clock_ahead_ms: 0,
            trouble: None,
            heard: Time(0),
        };
        let mut snapshot = Snapshot::default();
        snapshot.apps.insert(name(), Versioned { value: app, revision: 1 });
        snapshot.nodes.insert(node.name.clone(), node);
        World {
            snapshot,
            now: Time(1_000_000),
            ids: Numbers::default(),
            tempers: BTreeMap::new(),
            release_phase_fails: false,
            router_is_live: true,
        }
    }

    fn app(&mut self) -> &mut App {
        &mut self.snapshot.apps.get_mut(&name()).unwrap().value
    }

    fn deploy(&mut self, types: &[&str], temper: Temper) -> ReleaseNumber {
        let now = self.now;
        let number = ReleaseNumber(self.app().next_release);
        let processes = types.iter().map(|text| (text.parse().unwrap(), None)).collect();
        let build = Build {
            image: format!("shop@sha256:{}", number.0),
            commit: None,
            processes,
            exposed_port: None,
        };
        let release = Release {
            app: name(),
            number,
            created: now,
            created_by: "olga".parse().unwrap(),
            summary: String::new(),
            build: Some(build),
            config: BTreeMap::new(),
            settings: BTreeMap::new(),
            state: ReleaseState::Deploying,
        };
        self.snapshot.releases.insert((name(), number), Versioned { value: release, revision: 1 });
        self.tempers.insert(number, temper);
        let app = self.app();
        app.next_release += 1;
        app.target = Some(Deploy { release: number, started: now });
        app.generation += 1;
        number
    }

    fn scale(&mut self, process: &str, count: u32) {
        let changed = self.now;
        let app = self.app();
        let scale = app.formation.entry(process.parse().unwrap()).or_default();
        (scale.count, scale.changed) = (count, changed);
        app.generation += 1;
    }

    fn restart(&mut self, process: &str) {
        let changed = self.now;
        let app = self.app();
        let scale = app.formation.entry(process.parse().unwrap()).or_default();
        (scale.epoch, scale.changed) = (scale.epoch + 1, changed);
        app.generation += 1;
    }

    fn plan(&mut self) -> Plan {
        let rules = Rules { default_memory_bytes: 100 * MIB };
        plan(&self.snapshot, &rules, self.now, &mut self.ids)
    }

    /// One pass, applied; then the agent and the router do their part and time goes on.
    fn step(&mut self) {
        let now = self.now;
        self.snapshot.nodes.values_mut().for_each(|node| node.heard = now);
        let plan = self.plan();
        for action in plan.actions {
            self.apply(action);
        }
        self.check_rules();
        self.run_agent();
        self.run_router();
        self.now = self.now.plus_ms(STEP_MS);
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::KnowNode { spec, .. } => {
                let spec = Versioned { value: spec, revision: 1 };
                self.snapshot.specs.insert(spec.value.name.clone(), spec);
            }
            Action::StartUnit(unit) => {
                let was = self
                    .snapshot
                    .units
                    .insert(unit.id.clone(), Versioned { value: unit, revision: 1 });
                assert!(was.is_none(), "a unit id was used twice");
            }
            Action::MoveUnit(unit) => {
                self.snapshot.units.insert(unit.value.id.clone(), unit).expect("moved units exist");
            }
            Action::ForgetUnit(unit) => {
                self.snapshot.units.remove(&unit.value.id);
                self.snapshot.statuses.remove(&unit.value.id);
            }
            Action::EndDeploy { app, release } => {
                let key = (name(), release.value.number);
                self.snapshot.releases.insert(key, *release);
                self.snapshot.apps.insert(name(), *app);
            }
            Action::Settle(app) => {
                self.snapshot.apps.insert(name(), app);
            }
            Action::ForgetApp(_) => {
                self.snapshot.apps.clear();
            }
        }
    }

    fn run_agent(&mut self) {
        let units: Vec<Unit> =
            self.snapshot.units.values().map(|unit| unit.value.clone()).collect();
        for unit in units {
            let temper = self.tempers[&unit.release];
            let was = self.snapshot.statuses.get(&unit.id).cloned();
            let restarts = was.as_ref().map_or(0, |status| status.restarts);
            let (phase, restarts, trouble) = match (unit.desired, unit.kind, temper, was) {
                (Desired::Stop { .. }, ..) => (Phase::Gone, restarts, None),
                (_, _, _, None) => (Phase::Starting, 0, None),
                (_, UnitKind::ReleasePhase, ..) => (
                    Phase::Finished,
                    0,
                    self.release_phase_fails.then(|| trouble("exited with code 3")),
                ),
                (_, _, Temper::Good, _) => (Phase::Ready, restarts, None),
                (_, _, Temper::Crashes, _) => {
                    (Phase::Backoff, restarts + 1, Some(trouble("exited with code 1")))
                }
                (_, _, Temper::NeverReady, _) => (Phase::Running, restarts, None),
            };
            let status = UnitStatus {
                published: None,
                phase,
                address: Some("10.0.0.2:5000".to_owned()),
                restarts,
                since: self.now,
                trouble,
            };
            self.snapshot.statuses.insert(unit.id, status);
        }
    }

    /// The router serves from each new table one step after it was made.
    fn run_router(&mut self) {
        let snapshot = &mut self.snapshot;
        let version = snapshot.table_version;
        if self.router_is_live {
            let status = RouterStatus {
                epoch: 0,
                version,
                draining: BTreeMap::new(),
                heard: self.now.plus_ms(STEP_MS),
            };
            snapshot.routers.insert("n1".parse().unwrap(), status);
        }
        let routable: BTreeSet<UnitId> = snapshot
            .units
            .values()
            .map(|unit| &unit.value)
            .filter(|unit| unit.process.is_web() && unit.is_wanted())
            .filter(|unit| {
                snapshot.statuses.get(&unit.id).is_some_and(|status| status.phase == Phase::Ready)
            })
            .map(|unit| unit.id.clone())
            .collect();
        let in_table = |unit: &&UnitId| !snapshot.left_routes_at.contains_key(*unit);
        if routable.iter().eq(snapshot.entered_routes_at.keys().filter(in_table)) {
            return;
        }
        snapshot.table_version += 1;
        let version = snapshot.table_version;
        for unit in &routable {
            snapshot.entered_routes_at.entry(unit.clone()).or_insert(version);
        }
        for unit in snapshot.entered_routes_at.keys() {
            if !routable.contains(unit) {
                snapshot.left_routes_at.entry(unit.clone()).or_insert(version);
            }
        }
    }

    fn check_rules(&self) {
        let node = &"n1".parse().unwrap();
        assert!(
            self.snapshot.reserved_bytes(node) <= self.snapshot.nodes[node].memory_bytes,
            "overcommitted"
        );
    }

    /// Steps until nothing is asked, nothing leaves and three passes in a row had nothing to do.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..600 {
            self.step();
            let stays = self.snapshot.units.values().all(|unit| unit.value.is_wanted());
            let is_quiet = stays && self.app().is_settled() && self.plan().actions.is_empty();
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == 3 {
                return;
            }
        }
        panic!("not settled: {:?} {:?}", self.snapshot.apps, self.snapshot.units);
    }

    fn running(&self) -> Vec<(String, u32)> {
        let mut names: Vec<_> = self
            .snapshot
            .units
            .values()
            .map(|unit| (unit.value.display_name(), unit.value.release.0))
            .collect();
        names.sort();
        names
    }

    fn serving(&self) -> usize {
        let units = self.snapshot.units.values().map(|unit| &unit.value);
        units
            .filter(|unit| unit.process.is_web() && unit.is_wanted())
            .filter(|unit| {
                self.snapshot
                    .statuses
                    .get(&unit.id)
                    .is_some_and(|status| status.phase == Phase::Ready)
            })
            .count()
    }
}

fn trouble(reason: &str) -> Trouble {
    Trouble {
        reason: reason.to_owned(),
        code: "exited".to_owned(),
        at: Time(0),
        last_lines: vec!["boom".to_owned()],
    }
}

fn live(count: u32) -> World {
    let mut world = World::new(4000);
    world.scale("web", count);
    world.deploy(&["web"], Temper::Good);
    world.settle();
    assert_eq!(world.app().settled.outcome, Outcome::Live);
    world
}

#[test]
fn a_first_deploy_starts_what_the_formation_wants() {
    let mut world = live(2);
    assert_eq!(world.running(), [("web.1".to_owned(), 1), ("web.2".to_owned(), 1)]);
    assert_eq!(world.app().current, Some(ReleaseNumber(1)));
}

#[test]
fn a_settled_world_is_left_alone() {
    let mut world = live(3);
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn old_units_serve_until_the_new_ones_are_routed() {
    let mut world = live(3);
    world.deploy(&["web"], Temper::Good);
    for _ in 0..40 {
        world.step();
        assert!(world.serving() >= 3);
    }
    assert_eq!(
        world.running(),
        [("web.1".to_owned(), 2), ("web.2".to_owned(), 2), ("web.3".to_owned(), 2)]
    );
}

#[test]
fn a_crashing_release_is_given_up_and_the_old_one_serves_on() {
    let mut world = live(2);
    world.deploy(&["web"], Temper::Crashes);
    for _ in 0..40 {
        world.step();
        let old = world.snapshot.units.values().filter(|unit| unit.value.release.0 == 1);
        assert_eq!(old.filter(|unit| unit.value.is_wanted()).count(), 2);
    }
    assert_eq!(world.running(), [("web.1".to_owned(), 1), ("web.2".to_owned(), 1)]);
    let Outcome::Failed { code, reason, last_lines } = world.app().settled.outcome.clone() else {
        panic!("it must fail")
    };
    assert_eq!((code.as_str(), last_lines.len()), ("crashed", 1));
    assert!(reason.contains("exited with code 1"), "{reason}");
    assert_eq!(world.app().current, Some(ReleaseNumber(1)));
    let failed = &world.snapshot.releases[&(name(), ReleaseNumber(2))].value;
    assert!(matches!(failed.state, ReleaseState::Failed { .. }));
}

#[test]
fn a_release_that_never_gets_ready_fails_after_its_patience() {
    let mut world = live(1);
    world.deploy(&["web"], Temper::NeverReady);
    let began = world.now;
    world.settle();
    assert!(
        matches!(&world.app().settled.outcome, Outcome::Failed { code, .. } if code == "unhealthy")
    );
    assert!(world.now.since_ms(began) >= 90_000);
}

#[test]
fn without_a_router_nothing_is_called_live() {
    let mut world = World::new(4000);
    world.router_is_live = false;
    world.scale("web", 1);
    world.deploy(&["web"], Temper::Good);
    world.settle();
    assert!(
        matches!(&world.app().settled.outcome, Outcome::Failed { reason, .. } if reason.contains("router"))
    );
}

#[test]
fn a_failing_release_phase_stops_the_deploy_before_any_unit() {
    let mut world = live(1);
    world.release_phase_fails = true;
    world.deploy(&["web", "release"], Temper::Good);
    world.settle();
    assert!(
        matches!(&world.app().settled.outcome, Outcome::Failed { code, .. } if code == "release-failed")
    );
    assert_eq!(world.running(), [("web.1".to_owned(), 1)]);
}

#[test]
fn the_release_phase_runs_once_and_then_the_units_follow() {
    let mut world = live(1);
    world.deploy(&["web", "release"], Temper::Good);
    let mut phases = BTreeSet::new();
    for _ in 0..40 {
        world.step();
        let units = world.snapshot.units.values().map(|unit| &unit.value);
        phases.extend(
            units.filter(|unit| unit.kind == UnitKind::ReleasePhase).map(|unit| unit.id.clone()),
        );
    }
    assert_eq!(phases.len(), 1);
    assert_eq!(world.running(), [("web.1".to_owned(), 2)]);
}

#[test]
fn when_the_new_do_not_fit_beside_the_old_they_take_turns() {
    let mut world = World::new(500);
    world.scale("web", 4);
    world.deploy(&["web"], Temper::Good);
    world.settle();
    world.deploy(&["web"], Temper::Good);
    for _ in 0..200 {
        world.step();
        assert!(world.serving() >= 3, "{}", world.serving());
    }
    assert!(world.running().iter().all(|(_, release)| *release == 2));
}

#[test]
fn a_full_node_gives_way_one_by_one() {
    let mut world = World::new(200);
    world.scale("web", 2);
    world.deploy(&["web"], Temper::Good);
    world.settle();
    world.deploy(&["web"], Temper::Good);
    for _ in 0..200 {
        world.step();
        assert!(world.serving() >= 1);
    }
    assert_eq!(world.running(), [("web.1".to_owned(), 2), ("web.2".to_owned(), 2)]);
}

#[test]
fn scaling_beyond_the_room_fails_with_the_reason_and_keeps_what_runs() {
    let mut world = World::new(300);
    world.scale("web", 2);
    world.deploy(&["web"], Temper::Good);
    world.settle();
    world.scale("web", 5);
    world.settle();
    assert!(matches!(&world.app().settled.outcome, Outcome::Failed { code, reason, .. }
        if code == "no-room" && reason.contains("100 MiB")));
    assert_eq!(world.serving(), 3);
}

#[test]
fn memory_of_one_off_commands_is_not_given_away() {
    let mut world = World::new(300);
    world.scale("web", 1);
    world.deploy(&["web"], Temper::Good);
    world.settle();
    let held = |world: &mut World, bytes| {
        world.snapshot.nodes.values_mut().for_each(|node| node.sessions_bytes = bytes);
    };
    held(&mut world, 150 * MIB);
    world.scale("web", 2);
    world.settle();
    assert!(matches!(&world.app().settled.outcome, Outcome::Failed { code, reason, .. }
        if code == "no-room" && reason.contains("the most is 50 MiB")));
    held(&mut world, 0);
    world.scale("web", 3);
    world.settle();
    assert_eq!((world.serving(), &world.app().settled.outcome), (3, &Outcome::Live));
}

#[test]
fn scaling_to_nothing_is_done_when_nothing_is_left() {
    let mut world = live(2);
    world.scale("web", 0);
    world.settle();
    assert!(world.snapshot.units.is_empty());
    world.scale("web", 2);
    world.settle();
    assert_eq!(world.serving(), 2);
}

#[test]
fn a_restart_replaces_every_unit_without_a_gap() {
    let mut world = live(2);
    let before: BTreeSet<UnitId> = world.snapshot.units.keys().cloned().collect();
    world.restart("web");
    for _ in 0..40 {
        world.step();
        assert!(world.serving() >= 2);
    }
    assert!(world.snapshot.units.keys().all(|unit| !before.contains(unit)));
    assert_eq!(world.snapshot.units.len(), 2);
}

#[test]
fn another_types_old_trouble_does_not_fail_a_scale() {
    let mut world = World::new(4000);
    world.deploy(&["web", "worker"], Temper::Good);
    world.scale("worker", 1);
    world.scale("web", 1);
    world.settle();
    world.tempers.insert(ReleaseNumber(1), Temper::Crashes);
    let worker: Vec<UnitId> = world.snapshot.units.keys().cloned().collect();
    for _ in 0..10 {
        world.step();
    }
    world.tempers.insert(ReleaseNumber(1), Temper::Good);
    for unit in worker.iter().filter(|unit| unit.as_str().contains("web")) {
        world.snapshot.statuses.remove(unit);
    }
    world.scale("web", 2);
    world.settle();
    assert_eq!(world.app().settled.outcome, Outcome::Live);
}

#[test]
fn a_new_release_command_runs_even_on_an_image_that_served() {
    let mut world = live(1);
    world.release_phase_fails = true;
    let again = world.deploy(&["web", "release"], Temper::Good);
    let release = world.snapshot.releases.get_mut(&(name(), again)).unwrap();
    release.value.build.as_mut().unwrap().image = "shop@sha256:1".to_owned();
    world.settle();
    assert!(
        matches!(&world.app().settled.outcome, Outcome::Failed { code, .. } if code == "release-failed")
    );
}

#[test]
fn a_draining_unit_stops_only_when_no_router_reaches_it() {
    let mut world = live(1);
    world.scale("web", 0);
    world.step();
    let (id, unit) = world
        .snapshot
        .units
        .first_key_value()
        .map(|(id, unit)| (id.clone(), unit.clone()))
        .unwrap();
    assert!(matches!(unit.value.desired, Desired::Drain { .. }));
    let mut stops_with = |version: u64, in_flight: u32| {
        let draining = BTreeMap::from([(id.clone(), in_flight)]);
        let status = RouterStatus { epoch: 0, version, draining, heard: world.now };
        world.snapshot.routers.insert("n1".parse().unwrap(), status);
        !world.plan().actions.is_empty()
    };
    let left_at = 2;
    assert!(!stops_with(left_at - 1, 0), "the router still sends requests to it");
    assert!(!stops_with(left_at, 1), "a request is in flight to it");
    assert!(stops_with(left_at, 0));
}

#[test]
fn a_draining_unit_waits_for_routers_that_a_fresh_leader_has_not_heard_yet() {
    let mut world = live(1);
    world.scale("web", 0);
    world.step();
    let status = RouterStatus { version: 2, heard: world.now, ..RouterStatus::default() };
    world.snapshot.routers.insert("n1".parse().unwrap(), status);
    let spec = NodeSpec {
        name: "n2".parse().unwrap(),
        addresses: Addresses::default(),
        labels: BTreeMap::new(),
        duty: Duty::Open,
        joined: Time(0),
        admission: String::new(),
    };
    world.snapshot.specs.insert(spec.name.clone(), Versioned { value: spec, revision: 1 });
    world.snapshot.listening_since = world.now;
    let is_left_alone =
        |plan: Plan| !plan.actions.iter().any(|action| matches!(action, Action::MoveUnit(_)));
    assert!(is_left_alone(world.plan()), "the router of n2 may still lead to it");
    world.snapshot.listening_since = Time(world.now.0 - ROUTER_LOST_AFTER_MS);
    assert!(!is_left_alone(world.plan()), "n2 has no router that lives");
}

#[test]
fn the_release_phase_is_not_repeated_for_an_image_that_served() {
    let mut world = live(1);
    world.deploy(&["web", "release"], Temper::Good);
    world.settle();
    let again = world.deploy(&["web", "release"], Temper::Good);
    let served = world.snapshot.releases[&(name(), ReleaseNumber(2))].value.build.clone();
    world.snapshot.releases.get_mut(&(name(), again)).unwrap().value.build = served;
    for _ in 0..20 {
        world.step();
        let mut units = world.snapshot.units.values().map(|unit| &unit.value);
        assert!(!units.any(|unit| unit.kind == UnitKind::ReleasePhase && unit.release == again));
    }
    assert_eq!(world.running(), [("web.1".to_owned(), 3)]);
}

#[test]
fn a_unit_that_drains_when_its_app_is_destroyed_is_decided_once() {
    let mut world = live(1);
    world.scale("web", 0);
    world.step();
    let now = world.now;
    world.app().destroyed = Some(now);
    // No router waits for it any more: both its drain and the app's end would stop it.
    world.snapshot.routers.clear();
    let moves = world.plan().actions.into_iter();
    assert_eq!(moves.filter(|action| matches!(action, Action::MoveUnit(_))).count(), 1);
}

#[test]
fn a_destroyed_app_leaves_nothing() {
    let mut world = live(2);
    let now = world.now;
    world.app().destroyed = Some(now);
    for _ in 0..10 {
        if !world.snapshot.apps.is_empty() {
            world.step();
        }
    }
    assert!(world.snapshot.apps.is_empty() && world.snapshot.units.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever is asked for, in whatever order: memory is never overcommitted, the end is reached,
    /// and a world at rest is left alone.
    #[test]
    fn every_story_comes_to_rest(story in proptest::collection::vec((0..4u8, 0..6u32, 0..8usize), 1..12)) {
        let mut world = World::new(700);
        for (what, number, steps) in story {
            let busy = world.app().target.is_some();
            match what {
                0 if !busy => { world.deploy(&["web", "worker"], Temper::Good); }
                1 if !busy => { world.deploy(&["web"], Temper::Crashes); }
                2 if !busy => world.scale("web", number),
                3 if !busy => world.restart("web"),
                _ => {}
            }
            for _ in 0..steps { world.step(); }
        }
        world.settle();
        let before = world.running();
        for _ in 0..20 { world.step(); }
        prop_assert_eq!(before, world.running());
        let wanted = world.app().formation.get(&web()).map_or(0, Scale::wanted);
        let current = world.app().current;
        let works = current.is_some_and(|number| world.tempers[&number] == Temper::Good);
        prop_assert_eq!(world.serving(), if works { wanted as usize } else { 0 });
    }
}
