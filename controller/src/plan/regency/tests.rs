//! A world of one node that is heard and two that are not.

use std::collections::BTreeMap;

use model::app::Scale;
use model::name::{AppName, ReleaseNumber};
use model::node::{Addresses, Duty, Node, NodeSpec, Sight};
use model::release::{Build, ReleaseState};
use model::snapshot::Versioned;

use super::*;

const NOW: Time = Time(1_000_000);

fn node(name: &str, heard: Time) -> Node {
    Node {
        sessions_bytes: 0,
        name: name.parse().unwrap(),
        addresses: Addresses::default(),
        memory_bytes: 100,
        cpu_millis: 1000,
        disk_free_bytes: 0,
        version: String::new(),
        clock_ahead_ms: 0,
        trouble: None,
        sights: BTreeMap::new(),
        left_running: BTreeMap::new(),
        heard,
    }
}

fn world() -> Snapshot {
    let mut world = Snapshot::default();
    for name in ["n1", "n2", "n3"] {
        let spec = NodeSpec {
            name: name.parse().unwrap(),
            addresses: Addresses::default(),
            labels: BTreeMap::new(),
            duty: Duty::Open,
            joined: Time(0),
            admission: String::new(),
        };
        world.specs.insert(spec.name.clone(), Versioned { value: spec, revision: 1 });
    }
    let here = node("n1", NOW);
    world.nodes.insert(here.name.clone(), here);
    world
}

fn add(world: &mut Snapshot, name: &str, class: Class, types: &[&str], memory_bytes: u64) {
    let app_name: AppName = name.parse().unwrap();
    let mut app = App::new(app_name.clone(), "olga".parse().unwrap(), Time(0));
    (app.class, app.current) = (class, Some(ReleaseNumber(1)));
    let mut settings = BTreeMap::new();
    for process in types {
        let process: ProcessType = process.parse().unwrap();
        app.formation.insert(process.clone(), Scale { count: 2, ..Scale::default() });
        let limits = model::release::Limits { memory_bytes: Some(memory_bytes), cpu_millis: None };
        settings.insert(process, model::release::ProcessSettings { limits, ..Default::default() });
    }
    let release = Release {
        app: app_name.clone(),
        number: ReleaseNumber(1),
        created: Time(0),
        created_by: "olga".parse().unwrap(),
        summary: String::new(),
        build: Some(Build {
            image: format!("{name}@sha256:1"),
            commit: None,
            processes: types.iter().map(|process| (process.parse().unwrap(), None)).collect(),
            exposed_port: None,
        }),
        config: BTreeMap::new(),
        settings,
        state: ReleaseState::Succeeded,
    };
    let key = (app_name.clone(), ReleaseNumber(1));
    world.releases.insert(key, Versioned { value: release, revision: 1 });
    world.apps.insert(app_name, Versioned { value: app, revision: 1 });
}

fn added(world: &Snapshot) -> Vec<String> {
    let rules = Rules { default_memory_bytes: 10 };
    let units = regency(world, &"n1".parse().unwrap(), &rules, NOW);
    units.iter().map(|unit| unit.id.to_string()).collect()
}

#[test]
fn a_node_is_alone_only_when_every_other_is_lost() {
    let mut world = world();
    let own = "n1".parse().unwrap();
    assert!(is_alone(&world, &own, NOW));
    world.nodes.get_mut(&own).unwrap().sights.insert("n3".parse().unwrap(), Sight::Reached);
    let seen = node("n3", Time(NOW.0 - 10_000));
    world.nodes.insert(seen.name.clone(), seen);
    assert!(!is_alone(&world, &own, NOW), "a peer that is reached is not gone");
    world.specs.retain(|name, _| *name == own);
    assert!(!is_alone(&world, &own, NOW), "a cluster of one node is not what is left of one");
}

#[test]
fn production_is_started_web_first_as_far_as_memory_goes_and_nothing_else() {
    let mut world = world();
    add(&mut world, "shop", Class::Production, &["web", "worker"], 40);
    add(&mut world, "blog", Class::Standard, &["web"], 1);
    add(&mut world, "bank", Class::Production, &["web"], 40);
    assert_eq!(added(&world), ["bank-web-reserve", "shop-web-reserve"]);
}

#[test]
fn what_runs_here_already_or_may_not_run_twice_is_left_out() {
    let mut world = world();
    add(&mut world, "shop", Class::Production, &["web", "clock"], 10);
    let shop = &mut world.apps.get_mut(&"shop".parse().unwrap()).unwrap().value;
    shop.formation.get_mut(&"clock".parse().unwrap()).unwrap().exclusive = true;
    assert_eq!(added(&world), ["shop-web-reserve"]);
    let rules = Rules { default_memory_bytes: 10 };
    for unit in regency(&world, &"n1".parse().unwrap(), &rules, NOW) {
        world.units.insert(unit.id.clone(), Versioned { value: unit, revision: 0 });
    }
    assert!(added(&world).is_empty(), "a second pass adds nothing");
}

#[test]
fn what_is_bound_to_a_volume_is_started_where_the_volume_is_alone() {
    let mut world = world();
    for (name, node) in [("here", "n1"), ("there", "n2")] {
        add(&mut world, name, Class::Production, &["web"], 10);
        let app = &mut world.apps.get_mut(&name.parse::<AppName>().unwrap()).unwrap().value;
        let volume = model::volume::Volume {
            id: format!("{name}-data-1").parse().unwrap(),
            node: node.parse().unwrap(),
            created: NOW,
            mounts: BTreeMap::from([(ProcessType::web(), "/data".parse().unwrap())]),
        };
        app.volumes.insert("data".parse().unwrap(), volume);
    }
    let rules = Rules { default_memory_bytes: 10 };
    let added = regency(&world, &"n1".parse().unwrap(), &rules, NOW);
    assert_eq!(added.iter().map(|unit| unit.app.as_str()).collect::<Vec<_>>(), ["here"]);
    assert_eq!(added[0].mounts.len(), 1);
}
