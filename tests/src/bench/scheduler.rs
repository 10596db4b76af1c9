//! `cargo xtask bench scheduler`: the scheduler alone, on one core and without a store, beside what others have published.
//!
//! Placement: nodes of four sizes in four zones are filled with units of types of 200; every second type asks for a zone. Whole passes: 500 apps
//! with 10,000 units on 100 nodes, from nothing, at rest, and after a node with 200 units is lost.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use controller::plan::placement::{Need, Room, Tags};
use controller::plan::{Action, Ids, Rules, plan};
use model::app::{App, Scale};
use model::name::{AppName, ProcessType, ReleaseNumber};
use model::node::{Addresses, Duty, Node, NodeSpec};
use model::release::{Build, Release, ReleaseState};
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::{Phase, UnitStatus};
use serde_json::json;

use super::progress;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Units per node in the placement figures.
const UNITS_PER_NODE: usize = 100;
/// Units of one type.
const TYPE_UNITS: usize = 200;
/// Published rates, in decisions per second, whole systems on clusters: named for scale, not as a race on equal ground.
const PUBLISHED: [(&str, f64); 3] = [
    ("Nomad C1M, 5,000 nodes (published, whole system)", 3_750.0),
    ("Nomad C2M, 6,100 nodes (published, whole system)", 1_500.0),
    ("Kubernetes scheduler_perf, 5,000 nodes (published gate)", 810.0),
];
/// Any moment later than the times of the start.
const NOW: Time = Time(1_000_000_000);

/// All figures.
pub fn run_all() {
    let costs: Vec<f64> = [100, 1_000, 10_000].into_iter().map(placements).collect();
    figure(
        "scheduler cost per decision, 10,000 nodes over 100",
        "times",
        "lower",
        costs[2] / costs[0],
        None,
    );
    whole_passes();
}

fn figure(bench: &str, unit: &str, better: &str, ours: f64, peer: Option<(&str, f64)>) {
    let round = |figure: f64| (figure * 1000.0).round() / 1000.0;
    let mut line = json!({"bench": bench, "unit": unit, "better": better, "ours": round(ours)});
    if let Some((peer, theirs)) = peer {
        line["peer"] = json!(peer);
        line["theirs"] = json!(round(theirs));
        line["ratio"] = json!(round(ours / theirs));
    }
    let line = format!("{line}\n");
    std::io::stdout().write_all(line.as_bytes()).expect("standard output takes the figure");
}

fn node(number: usize, memory_bytes: u64) -> Node {
    Node {
        name: format!("n{number:05}").parse().expect("a node's name"),
        addresses: Addresses::default(),
        memory_bytes,
        sessions_bytes: 0,
        cpu_millis: 16_000,
        disk_free_bytes: 0,
        version: String::new(),
        clock_ahead_ms: 0,
        trouble: None,
        sights: BTreeMap::new(),
        left_running: BTreeMap::new(),
        heard: NOW,
    }
}

fn zone(number: usize) -> Tags {
    Tags::from([("zone".to_owned(), ["a", "b", "c", "d"][number % 4].to_owned())])
}

fn spec(node: &Node, number: usize) -> NodeSpec {
    NodeSpec {
        name: node.name.clone(),
        addresses: Addresses::default(),
        labels: zone(number),
        duty: Duty::Open,
        joined: Time(0),
        admission: String::new(),
    }
}

/// Fills a cluster. Gives the mean cost of a decision in microseconds.
fn placements(nodes: usize) -> f64 {
    let units = nodes * UNITS_PER_NODE;
    progress(&format!("placing {units} units on {nodes} nodes ..."));
    let mut room = Room::empty();
    for number in 0..nodes {
        let node = node(number, (32 << (number / 4 % 4)) * GIB);
        room.open(&node, Some(&spec(&node, number)));
    }
    let (web, none) = (ProcessType::web(), Tags::new());
    let mut took_ns: Vec<u64> = Vec::with_capacity(units);
    let mut placed = 0;
    for number in 0..units.div_ceil(TYPE_UNITS) {
        let app: AppName = format!("app-{number}").parse().expect("an app's name");
        let own = zone(number / 2);
        let need = Need {
            app: &app,
            process: &web,
            tags: if number % 2 == 0 { &none } else { &own },
            home: None,
            memory_bytes: [128, 256, 384, 512][number % 4] * MIB,
            cpu_millis: 50,
        };
        for _ in 0..TYPE_UNITS {
            let began = Instant::now();
            let is_placed = room.place(need).is_ok();
            took_ns.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            placed += usize::from(is_placed);
        }
    }
    assert_eq!(placed, took_ns.len(), "all fit");
    let mean_us = took_ns.iter().sum::<u64>() as f64 / took_ns.len() as f64 / 1000.0;
    took_ns.sort_unstable();
    let p99_us = took_ns[took_ns.len() * 99 / 100] as f64 / 1000.0;
    let name = format!("scheduler decisions, {nodes} nodes, {units} units, labels and spread");
    for peer in PUBLISHED {
        figure(&name, "decisions/s", "higher", 1e6 / mean_us, Some(peer));
    }
    let name = format!("scheduler decision p99, {nodes} nodes, {units} units");
    figure(&name, "us", "lower", p99_us, None);
    mean_us
}

struct Numbers(u64);

impl Ids for Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("{}", self.0)
    }
}

/// A cluster in which every app wants 20 units.
fn cluster() -> Snapshot {
    let mut snapshot = Snapshot { table_version: 1, ..Snapshot::default() };
    for number in 0..100 {
        let node = node(number, 64 * GIB);
        let spec = Versioned { value: spec(&node, number), revision: 1 };
        snapshot.specs.insert(node.name.clone(), spec);
        snapshot.nodes.insert(node.name.clone(), node);
    }
    for number in 0..500 {
        let name: AppName = format!("app-{number}").parse().expect("an app's name");
        let owner: model::name::Username = "olga".parse().expect("a user's name");
        let mut app = App::new(name.clone(), owner.clone(), Time(0));
        app.current = Some(ReleaseNumber(1));
        let worker: ProcessType = "worker".parse().expect("a process type");
        app.formation.insert(worker.clone(), Scale { count: 20, ..Scale::default() });
        let release = Release {
            app: name.clone(),
            number: ReleaseNumber(1),
            created: Time(0),
            created_by: owner,
            summary: String::new(),
            build: Some(Build {
                image: "it@sha256:1".to_owned(),
                commit: None,
                processes: BTreeMap::from([(worker, None)]),
                exposed_port: None,
            }),
            config: BTreeMap::new(),
            settings: BTreeMap::new(),
            state: ReleaseState::Succeeded,
        };
        let release = Versioned { value: release, revision: 1 };
        snapshot.releases.insert((name.clone(), ReleaseNumber(1)), release);
        snapshot.apps.insert(name, Versioned { value: app, revision: 1 });
    }
    snapshot
}

fn whole_passes() {
    progress("planning for 500 apps with 10,000 units ...");
    let rules = Rules { default_memory_bytes: 256 * MIB };
    let (mut snapshot, mut ids) = (cluster(), Numbers(0));
    let mut pass = |snapshot: &Snapshot, what: &str, expected: usize| {
        let began = Instant::now();
        let decided = plan(snapshot, &rules, NOW, &mut ids);
        let took_ms = began.elapsed().as_secs_f64() * 1000.0;
        let starts = decided.actions.iter().filter(|action| matches!(action, Action::StartUnit(_)));
        assert_eq!(starts.count(), expected, "{what}");
        let name = format!("scheduler whole pass, 500 apps, 100 nodes, {what}");
        figure(&name, "ms", "lower", took_ms, None);
        decided
    };
    let first = pass(&snapshot, "10,000 units from nothing", 10_000);
    for action in first.actions {
        if let Action::StartUnit(unit) = action {
            let status = UnitStatus {
                phase: Phase::Ready,
                address: None,
                published: None,
                restarts: 0,
                since: NOW,
                trouble: None,
            };
            snapshot.statuses.insert(unit.id.clone(), status);
            snapshot.units.insert(unit.id.clone(), Versioned { value: unit, revision: 1 });
        }
    }
    pass(&snapshot, "10,000 units at rest", 0);
    let victim = snapshot.nodes.pop_first().map(|(name, _)| name).expect("there are nodes");
    let lost = snapshot.units.values().filter(|unit| unit.value.node == victim).count();
    pass(&snapshot, &format!("a node with {lost} units lost"), lost);
}
