//! A cluster of several nodes and apps in which plans come true, stepped by hand.

use std::collections::{BTreeMap, BTreeSet};

use model::app::{Class, Outcome, Scale};
use model::name::{NodeName, ReleaseNumber};
use model::node::{Addresses, Duty, Node, Sight};
use model::release::{Build, ReleaseState};
use model::route::RouterStatus;
use model::unit::{Desired, Phase, UnitStatus};
use proptest::prelude::*;

use super::*;

mod volumes;

const MIB: u64 = 1 << 20;
const STEP_MS: u64 = 500;

#[derive(Default)]
struct Numbers(u32);

impl Ids for Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("{:04}", self.0)
    }
}

struct Cluster {
    snapshot: Snapshot,
    now: Time,
    ids: Numbers,
    /// Nodes that are not heard.
    silent: BTreeSet<NodeName>,
    /// Exclusive units that their agents ended because no controller was heard.
    fenced: BTreeSet<UnitId>,
    waiting: Vec<Waiting>,
}

/// How an app begins.
#[derive(Clone, Copy)]
struct Wants<'a> {
    app: &'a str,
    class: Class,
    process: &'a str,
    count: u32,
}

fn production(app: &str, count: u32) -> Wants<'_> {
    Wants { app, class: Class::Production, process: "web", count }
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

impl Cluster {
    /// Nodes `n1`, `n2`, ... with room for so many units each.
    fn new(sizes: &[u64]) -> Cluster {
        let mut cluster = Cluster {
            snapshot: Snapshot { leading_since: Some(Time(0)), ..Snapshot::default() },
            now: Time(1_000_000),
            ids: Numbers::default(),
            silent: BTreeSet::new(),
            fenced: BTreeSet::new(),
            waiting: Vec::new(),
        };
        for (index, size) in sizes.iter().enumerate() {
            let node = Node {
                name: name(&format!("n{}", index + 1)),
                addresses: Addresses::default(),
                memory_bytes: size * 100 * MIB,
                sessions_bytes: 0,
                cpu_millis: 4000,
                disk_free_bytes: 0,
                version: String::new(),
                clock_ahead_ms: 0,
                trouble: None,
                sights: BTreeMap::new(),
                left_running: BTreeMap::new(),
                heard: cluster.now,
            };
            cluster.snapshot.nodes.insert(node.name.clone(), node);
        }
        cluster
    }

    fn app(&mut self, wants: Wants<'_>) {
        let mut app = App::new(wants.app.parse().unwrap(), "olga".parse().unwrap(), Time(0));
        app.class = wants.class;
        app.current = Some(ReleaseNumber(1));
        let scale = Scale { count: wants.count, changed: self.now, ..Scale::default() };
        app.formation.insert(wants.process.parse().unwrap(), scale);
        let release = Release {
            app: app.name.clone(),
            number: ReleaseNumber(1),
            created: Time(0),
            created_by: "olga".parse().unwrap(),
            summary: String::new(),
            build: Some(Build {
                image: "it@sha256:1".to_owned(),
                commit: None,
                processes: BTreeMap::from([(wants.process.parse().unwrap(), None)]),
                exposed_port: None,
            }),
            config: BTreeMap::new(),
            settings: BTreeMap::new(),
            state: ReleaseState::Succeeded,
        };
        let key = (app.name.clone(), release.number);
        self.snapshot.releases.insert(key, Versioned { value: release, revision: 1 });
        self.snapshot.apps.insert(app.name.clone(), Versioned { value: app, revision: 1 });
    }

    fn scale_of(&mut self, app: &str) -> &mut Scale {
        let app = self.snapshot.apps.get_mut(&app.parse().unwrap()).unwrap();
        app.value.generation += 1;
        app.value.formation.values_mut().next().unwrap()
    }

    fn set_duty(&mut self, node: &str, duty: Duty) {
        self.snapshot.specs.get_mut(&name(node)).unwrap().value.duty = duty;
    }

    fn drain(&mut self, node: &str) {
        self.set_duty(node, Duty::Draining { since: self.now });
    }

    fn label(&mut self, node: &str, key: &str, value: &str) {
        let spec = &mut self.snapshot.specs.get_mut(&name(node)).unwrap().value;
        spec.labels.insert(key.to_owned(), value.to_owned());
    }

    fn plan(&mut self) -> Plan {
        let rules = Rules { default_memory_bytes: 100 * MIB };
        plan(&self.snapshot, &rules, self.now, &mut self.ids)
    }

    /// One pass, applied, then agents and routers do their part and time goes on.
    fn step(&mut self) {
        for node in self.snapshot.nodes.values_mut() {
            if !self.silent.contains(&node.name) {
                node.heard = self.now;
            }
        }
        let plan = self.plan();
        for action in plan.actions {
            self.apply(action);
        }
        self.waiting = plan.waiting;
        self.check_laws();
        self.run_agents();
        self.run_routers();
        self.now = self.now.plus_ms(STEP_MS);
    }

    fn steps(&mut self, count: usize) {
        (0..count).for_each(|_| self.step());
    }

    fn apply(&mut self, action: Action) {
        let snapshot = &mut self.snapshot;
        match action {
            Action::KnowNode { spec, .. } => {
                let spec = Versioned { value: spec, revision: 1 };
                snapshot.specs.insert(spec.value.name.clone(), spec);
            }
            Action::StartUnit(unit) => {
                let unit = Versioned { value: unit, revision: 1 };
                assert!(snapshot.units.insert(unit.value.id.clone(), unit).is_none());
            }
            Action::MoveUnit(unit) => {
                let was = snapshot.units.insert(unit.value.id.clone(), unit).unwrap();
                assert!(!matches!(was.value.desired, Desired::Stop { .. }), "moved twice");
            }
            Action::ForgetUnit(unit) => {
                snapshot.units.remove(&unit.value.id).unwrap();
                snapshot.statuses.remove(&unit.value.id);
            }
            Action::Settle(app) => {
                snapshot.apps.insert(app.value.name.clone(), app);
            }
            Action::EndDeploy { .. } | Action::ForgetApp(_) => panic!("nobody asked for it"),
        }
    }

    fn run_agents(&mut self) {
        for unit in self.snapshot.units.values().map(|unit| &unit.value) {
            let silent_ms = self.now.since_ms(self.snapshot.nodes[&unit.node].heard);
            if self.silent.contains(&unit.node) {
                if unit.exclusive && silent_ms >= 7_000 {
                    self.fenced.insert(unit.id.clone());
                }
                continue;
            }
            // It does again what it is told.
            if unit.is_wanted() {
                self.fenced.remove(&unit.id);
            }
            let phase = match (unit.desired, self.snapshot.statuses.get(&unit.id)) {
                (Desired::Stop { .. }, _) => Phase::Gone,
                (_, None) => Phase::Starting,
                _ => Phase::Ready,
            };
            let status = UnitStatus {
                phase,
                address: Some("10.0.0.2:5000".to_owned()),
                published: None,
                restarts: 0,
                since: self.now,
                trouble: None,
            };
            self.snapshot.statuses.insert(unit.id.clone(), status);
        }
    }

    /// Routers follow at once.
    fn run_routers(&mut self) {
        let snapshot = &mut self.snapshot;
        let heard = self.now.plus_ms(STEP_MS);
        let status = RouterStatus { epoch: 0, version: 1, draining: BTreeMap::new(), heard };
        snapshot.routers.insert(name("n1"), status);
        snapshot.table_version = 1;
        snapshot.entered_routes_at = snapshot.units.keys().map(|unit| (unit.clone(), 1)).collect();
    }

    fn check_laws(&self) {
        for node in self.snapshot.nodes.values() {
            let reserved = self.snapshot.reserved_bytes(&node.name);
            assert!(reserved <= node.memory_bytes, "{} is overcommitted", node.name);
        }
        let mut running = BTreeSet::new();
        for unit in self.snapshot.units.values().map(|unit| &unit.value) {
            if unit.exclusive && !self.fenced.contains(&unit.id) {
                let name = (&unit.app, &unit.process, unit.ordinal);
                assert!(running.insert(name), "two of {name:?}");
            }
        }
    }

    /// How many of an app's units serve.
    fn serving(&self, app: &str) -> usize {
        let units = self.snapshot.units.values().map(|unit| &unit.value);
        let serves = |unit: &&Unit| {
            let status = self.snapshot.statuses.get(&unit.id);
            unit.app.as_str() == app
                && unit.is_wanted()
                && !self.silent.contains(&unit.node)
                && status.is_some_and(|status| status.phase == Phase::Ready)
        };
        units.filter(serves).count()
    }

    /// `n1 n1 n2`: where an app's units are.
    fn nodes_of(&self, app: &str) -> String {
        let units = self.snapshot.units.values().map(|unit| &unit.value);
        let mut nodes: Vec<&str> = units
            .filter(|unit| unit.app.as_str() == app && !self.silent.contains(&unit.node))
            .map(|unit| unit.node.as_str())
            .collect();
        nodes.sort_unstable();
        nodes.join(" ")
    }

    fn waits(&self, app: &str) -> Vec<(&str, &str)> {
        let own = self.waiting.iter().filter(|waiting| waiting.app.as_str() == app);
        own.map(|waiting| (waiting.code, waiting.reason.as_str())).collect()
    }
}

#[test]
fn the_first_unit_of_every_production_type_goes_before_the_second_of_any() {
    let mut cluster = Cluster::new(&[2, 2]);
    for app in ["aa", "bb", "cc"] {
        cluster.app(production(app, 3));
    }
    cluster.app(Wants { class: Class::Standard, ..production("early", 1) });
    cluster.steps(5);
    let serving = ["aa", "bb", "cc", "early"].map(|app| cluster.serving(app));
    assert_eq!(serving, [2, 1, 1, 0]);
    assert!(cluster.waits("early")[0].1.contains("higher class"), "{:?}", cluster.waiting);
}

#[test]
fn production_takes_the_room_of_the_lowest_class_and_no_more_than_it_needs() {
    let mut cluster = Cluster::new(&[3]);
    cluster.app(Wants { class: Class::Standard, ..production("blog", 1) });
    cluster.app(Wants { class: Class::Preview, ..production("trial", 2) });
    cluster.steps(5);
    cluster.app(production("shop", 1));
    cluster.step();
    let preempted: Vec<_> = cluster.waits("trial");
    assert_eq!(preempted[0].0, "preempted");
    assert!(preempted[0].1.contains("web.2 is stopped: shop web.1"), "{preempted:?}");
    cluster.steps(6);
    assert_eq!(["shop", "blog", "trial"].map(|app| cluster.serving(app)), [1, 1, 1]);
    cluster.scale_of("shop").count = 2;
    cluster.steps(8);
    cluster.scale_of("shop").count = 3;
    cluster.steps(8);
    assert_eq!(["shop", "blog", "trial"].map(|app| cluster.serving(app)), [3, 0, 0]);
    cluster.scale_of("shop").count = 1;
    cluster.steps(8);
    assert_eq!(["shop", "blog", "trial"].map(|app| cluster.serving(app)), [1, 1, 1]);
}

#[test]
fn equals_and_higher_ones_are_never_stopped_for_another() {
    let mut cluster = Cluster::new(&[2]);
    cluster.app(production("shop", 2));
    cluster.steps(5);
    cluster.app(production("bank", 1));
    cluster.app(Wants { class: Class::Standard, ..production("blog", 1) });
    cluster.steps(10);
    assert_eq!(["shop", "bank", "blog"].map(|app| cluster.serving(app)), [2, 0, 0]);
}

#[test]
fn a_lost_nodes_production_units_come_up_elsewhere_at_the_cost_of_previews() {
    let mut cluster = Cluster::new(&[2, 2, 2]);
    cluster.app(production("shop", 3));
    cluster.app(Wants { class: Class::Preview, ..production("trial", 3) });
    cluster.steps(6);
    assert_eq!((cluster.nodes_of("shop"), cluster.serving("trial")), ("n1 n2 n3".to_owned(), 3));
    cluster.silent.insert(name("n3"));
    cluster.steps(20);
    assert_eq!((cluster.serving("shop"), cluster.serving("trial")), (3, 1));
    cluster.silent.clear();
    cluster.steps(10);
    assert_eq!((cluster.serving("shop"), cluster.serving("trial")), (3, 3));
}

#[test]
fn a_drained_nodes_units_are_replaced_before_they_go() {
    let mut cluster = Cluster::new(&[2, 2, 2]);
    cluster.app(production("shop", 3));
    cluster.steps(5);
    cluster.drain("n1");
    for _ in 0..12 {
        cluster.step();
        assert!(cluster.serving("shop") >= 3);
    }
    assert!(!cluster.nodes_of("shop").contains("n1"), "{}", cluster.nodes_of("shop"));
    let quiet = cluster.plan();
    assert_eq!(quiet, Plan::default());
}

#[test]
fn a_drain_without_room_elsewhere_leaves_units_where_they_are_and_says_so() {
    let mut cluster = Cluster::new(&[2, 1]);
    cluster.app(production("shop", 3));
    cluster.steps(5);
    cluster.drain("n1");
    cluster.steps(60);
    assert_eq!(cluster.serving("shop"), 3);
    let (code, reason) = cluster.waits("shop")[0];
    assert_eq!(code, "drain");
    assert!(reason.contains("stays on n1, which is being drained"), "{reason}");
}

#[test]
fn a_cordoned_node_keeps_what_it_has_and_takes_nothing() {
    let mut cluster = Cluster::new(&[3, 3]);
    cluster.app(production("shop", 2));
    cluster.steps(5);
    cluster.set_duty("n1", Duty::Cordoned);
    cluster.scale_of("shop").count = 4;
    cluster.steps(8);
    assert_eq!(cluster.nodes_of("shop"), "n1 n2 n2 n2");
}

#[test]
fn a_restart_during_a_drain_keeps_enough_that_serve() {
    let mut cluster = Cluster::new(&[4, 2]);
    cluster.app(production("shop", 4));
    cluster.steps(5);
    cluster.drain("n2");
    cluster.scale_of("shop").epoch = 1;
    for _ in 0..60 {
        cluster.step();
        assert!(cluster.serving("shop") >= 3, "{}", cluster.serving("shop"));
    }
    assert_eq!(cluster.nodes_of("shop"), "n1 n1 n1 n1");
}

#[test]
fn tags_choose_the_node_and_a_label_nobody_has_is_said() {
    let mut cluster = Cluster::new(&[9, 9, 9]);
    cluster.step();
    cluster.label("n2", "disk", "ssd");
    cluster.app(production("shop", 2));
    cluster.scale_of("shop").tags.insert("disk".to_owned(), "ssd".to_owned());
    cluster.steps(5);
    assert_eq!(cluster.nodes_of("shop"), "n2 n2");
    let scale = cluster.scale_of("shop");
    scale.tags.insert("disk".to_owned(), "tape".to_owned());
    (scale.epoch, scale.changed) = (1, Time(1_002_500));
    cluster.steps(60);
    assert_eq!(cluster.nodes_of("shop"), "n2 n2", "nothing stops for what cannot be had");
    assert_eq!(cluster.waits("shop")[0].0, "no-label");
    let app = &cluster.snapshot.apps[&"shop".parse().unwrap()].value;
    assert!(
        matches!(&app.settled.outcome, Outcome::Failed { reason, .. } if reason.contains("disk=tape"))
    );
}

fn exclusive(nodes: &[u64]) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.app(Wants { process: "clock", ..production("shop", 1) });
    cluster.scale_of("shop").exclusive = true;
    cluster.steps(5);
    assert_eq!(cluster.serving("shop"), 1);
    cluster
}

#[test]
fn an_exclusive_unit_ends_before_the_next_one_starts() {
    let mut cluster = exclusive(&[2, 2]);
    cluster.scale_of("shop").epoch = 1;
    cluster.step();
    assert_eq!(cluster.waits("shop")[0].0, "exclusive");
    cluster.steps(10);
    assert_eq!(cluster.serving("shop"), 1);
    assert!(cluster.snapshot.units.values().all(|unit| unit.value.epoch == 1));
    let node = cluster.nodes_of("shop");
    cluster.drain(&node);
    cluster.steps(10);
    assert_eq!(cluster.serving("shop"), 1);
    assert_ne!(cluster.nodes_of("shop"), node);
}

#[test]
fn an_exclusive_unit_of_a_lost_node_starts_elsewhere_when_it_has_fenced_itself() {
    let mut cluster = exclusive(&[2, 2]);
    let node = name(&cluster.nodes_of("shop"));
    cluster.silent.insert(node.clone());
    let heard = cluster.snapshot.nodes[&node].heard;
    while cluster.nodes_of("shop").is_empty() {
        cluster.step();
    }
    let took_ms = cluster.now.since_ms(heard);
    assert!((8_000..9_500).contains(&took_ms), "{took_ms}");
    cluster.silent.clear();
    cluster.steps(5);
    assert_eq!(cluster.snapshot.units.len(), 1, "the old one must not start again");
}

#[test]
fn an_exclusive_unit_of_a_dead_agent_is_not_started_elsewhere_while_its_machine_answers() {
    let mut cluster = exclusive(&[2, 2]);
    let node = name(&cluster.nodes_of("shop"));
    cluster.silent.insert(node.clone());
    let sees = |cluster: &mut Cluster, sight: Sight| {
        for peer in cluster.snapshot.nodes.values_mut() {
            peer.sights.insert(node.clone(), sight);
        }
    };
    sees(&mut cluster, Sight::Refused);
    cluster.steps(240);
    assert!(cluster.nodes_of("shop").is_empty(), "nobody has ended it");
    assert_eq!(cluster.waits("shop")[0].0, "exclusive");
    sees(&mut cluster, Sight::Silent);
    cluster.steps(5);
    assert!(!cluster.nodes_of("shop").is_empty());
}

#[test]
fn a_new_leader_waits_before_it_takes_an_exclusive_unit_for_ended() {
    let mut cluster = exclusive(&[2, 2]);
    let node = name(&cluster.nodes_of("shop"));
    cluster.silent.insert(node);
    cluster.snapshot.leading_since = Some(cluster.now.plus_ms(2_000));
    let leads = cluster.now.plus_ms(2_000);
    while cluster.nodes_of("shop").is_empty() {
        cluster.step();
    }
    assert!(cluster.now.since_ms(leads) >= 10_500);
}

#[test]
fn a_dry_run_tells_what_then_happens() {
    let mut cluster = Cluster::new(&[2, 2]);
    cluster.app(production("shop", 1));
    cluster.app(Wants { class: Class::Preview, ..production("trial", 2) });
    cluster.steps(6);
    cluster.scale_of("shop").count = 5;
    let rules = Rules { default_memory_bytes: 100 * MIB };
    let outlook = imagine::outlook(&cluster.snapshot, &rules, cluster.now);
    assert_eq!((outlook.starts.len(), outlook.stops.len(), outlook.preempted.len()), (3, 0, 2));
    let waits: Vec<_> = outlook.waiting.iter().map(|waiting| waiting.app.as_str()).collect();
    assert_eq!(waits, ["shop", "trial", "trial"]);
    let mut foretold: Vec<_> =
        outlook.starts.iter().map(|unit| (unit.ordinal, unit.node.clone())).collect();
    let before: BTreeSet<UnitId> = cluster.snapshot.units.keys().cloned().collect();
    cluster.steps(12);
    let units = cluster.snapshot.units.iter().filter(|(id, _)| !before.contains(*id));
    let mut came: Vec<_> =
        units.map(|(_, unit)| (unit.value.ordinal, unit.value.node.clone())).collect();
    foretold.sort();
    came.sort();
    assert_eq!(foretold, came);
}

#[test]
fn losses_are_looked_at_before_they_happen() {
    let mut cluster = Cluster::new(&[2, 2, 2]);
    cluster.app(production("shop", 3));
    cluster.app(Wants { class: Class::Preview, ..production("trial", 3) });
    cluster.steps(6);
    let rules = Rules { default_memory_bytes: 100 * MIB };
    let losses = imagine::losses(&cluster.snapshot, &rules, cluster.now);
    let waits = |loss: &imagine::Loss| {
        (loss.nodes.len(), loss.apps(Class::Production).len(), loss.apps(Class::Preview).len())
    };
    let all: Vec<_> = losses.iter().map(waits).collect();
    assert_eq!(all, [(1, 0, 1), (1, 0, 1), (1, 0, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)]);
    let shop = "shop".parse().unwrap();
    let beyond = |cluster: &Cluster| {
        imagine::beyond_the_reserve(&cluster.snapshot, &shop, &rules, cluster.now)
    };
    cluster.scale_of("shop").count = 4;
    assert_eq!(beyond(&cluster), None);
    cluster.scale_of("shop").count = 5;
    assert_eq!(beyond(&cluster).unwrap().nodes, [name("n1")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    /// Whatever happens in whatever order: no law breaks after any step (see `check_laws`), it comes to rest, nothing waits that fits, no unit of
    /// a higher class waits for room that lower ones hold, and a second pass does nothing.
    #[test]
    fn every_story_ends_well(
        sizes in proptest::collection::vec(1..6_u64, 2..5),
        story in proptest::collection::vec((0..7_u8, 0..6_usize, 0..5_u32, 0..25_usize), 1..25),
    ) {
        let mut cluster = Cluster::new(&sizes);
        cluster.step();
        let apps = ["aa", "bb", "cc", "dd", "ee", "ff"];
        let classes = [Class::Production, Class::Standard, Class::Preview];
        for (index, app) in apps.iter().enumerate() {
            let process = if index % 2 == 0 { "web" } else { "clock" };
            cluster.app(Wants { app, class: classes[index / 2], process, count: 0 });
            cluster.scale_of(app).exclusive = index % 4 == 1;
        }
        for (what, which, number, steps) in story {
            let node = format!("n{}", which % sizes.len() + 1);
            let now = cluster.now;
            match what {
                0 | 1 => {
                    let scale = cluster.scale_of(apps[which]);
                    (scale.count, scale.changed) = (number, now);
                }
                2 => {
                    let scale = cluster.scale_of(apps[which]);
                    (scale.epoch, scale.changed) = (scale.epoch + 1, now);
                }
                3 => { cluster.silent.insert(name(&node)); }
                4 => cluster.silent.clear(),
                5 => cluster.drain(&node),
                _ => cluster.set_duty(&node, Duty::Open),
            }
            cluster.steps(steps);
        }
        cluster.silent.clear();
        for index in 1..=sizes.len() {
            cluster.set_duty(&format!("n{index}"), Duty::Open);
        }
        cluster.steps(300);
        let plan = cluster.plan();
        prop_assert!(plan.actions.is_empty(), "not at rest: {:?}", plan);
        let most_free = cluster.snapshot.nodes.values()
            .map(|node| node.memory_bytes - cluster.snapshot.reserved_bytes(&node.name))
            .max().unwrap();
        prop_assert!(plan.waiting.is_empty() || most_free < 100 * MIB, "{:?}", plan.waiting);
        let class = |app: &AppName| cluster.snapshot.apps[app].value.class;
        let lowest = cluster.snapshot.units.values().map(|unit| class(&unit.value.app)).min();
        for waiting in &plan.waiting {
            prop_assert!(Some(class(&waiting.app)) <= lowest, "{:?}", plan.waiting);
        }
    }
}

#[test]
fn units_that_replace_others_are_spread_as_if_those_were_gone() {
    let mut cluster = Cluster::new(&[20, 10]);
    cluster.step();
    cluster.set_duty("n1", Duty::Cordoned);
    cluster.app(production("shop", 1));
    cluster.steps(4);
    cluster.set_duty("n1", Duty::Open);
    let scale = cluster.scale_of("shop");
    (scale.count, scale.epoch) = (2, 1);
    cluster.step();
    let units = cluster.snapshot.units.values().map(|unit| &unit.value);
    let nodes = |epoch| {
        let of_epoch = units.clone().filter(move |unit| unit.epoch == epoch);
        of_epoch.map(|unit| unit.node.to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(nodes(0), BTreeSet::from(["n2".to_owned()]));
    // The larger node would take both, if the one that leaves the smaller still counted there.
    assert_eq!(nodes(1), BTreeSet::from(["n1".to_owned(), "n2".to_owned()]));
}
