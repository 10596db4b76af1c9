//! Tables applied while requests are in flight.

use model::incarnation::Incarnation;
use model::route::AppRoute;

use super::*;

fn fleet() -> Fleet {
    let place = Place { node: "n1".to_owned(), reserved: "deis.apps.localhost".to_owned() };
    Fleet::new(Clock::system(), Signals::default(), place)
}

fn table(version: u64, units: &[(&str, &str)]) -> RouteTable {
    let endpoint = |(unit, address): &(&str, &str)| Endpoint {
        node: None,
        published: None,
        unit: unit.parse().unwrap(),
        address: (*address).to_owned(),
    };
    let row = AppRoute {
        app: "shop".parse().unwrap(),
        hosts: vec!["shop.apps.localhost".parse().unwrap(), "*.apps.localhost".parse().unwrap()],
        maintenance: false,
        units: units.iter().map(endpoint).collect(),
    };
    RouteTable {
        incarnation: Incarnation::default(),
        epoch: 0,
        version,
        apps: vec![row],
        certificates: Vec::new(),
    }
}

const HOST: &str = "shop.apps.localhost";

fn draining(fleet: &Fleet) -> Vec<(String, u32)> {
    let status = fleet.status().unwrap();
    status.draining.iter().map(|(unit, count)| (unit.to_string(), *count)).collect()
}

#[test]
fn a_unit_that_left_drains_until_its_last_request_ends() {
    let fleet = fleet();
    assert!(fleet.status().is_none(), "nothing to tell before the first table");
    fleet.apply(&table(1, &[("old", "h:1")]));
    let claim = fleet.claim(HOST, &[]).unwrap();
    fleet.apply(&table(2, &[("new", "h:2")]));
    assert_eq!(draining(&fleet), [("old".to_owned(), 1)]);
    for _ in 0..20 {
        assert_eq!(fleet.claim(HOST, &[]).unwrap().unit().id.as_str(), "new");
    }
    drop(claim);
    assert_eq!((draining(&fleet), fleet.version()), (vec![], Some(2)));
}

#[test]
fn a_unit_that_comes_back_is_not_draining_and_keeps_its_count() {
    let fleet = fleet();
    fleet.apply(&table(1, &[("u1", "h:1")]));
    let claim = fleet.claim(HOST, &[]).unwrap();
    fleet.apply(&table(2, &[]));
    assert_eq!(fleet.claim(HOST, &[]).err(), Some(NoUnit::NoneReady));
    fleet.apply(&table(3, &[("u1", "h:1")]));
    assert_eq!(draining(&fleet), []);
    assert_eq!(fleet.claim(HOST, &[]).unwrap().unit().in_flight(), 2);
    drop(claim);
}

#[test]
fn a_unit_at_a_new_address_is_another_target_but_has_not_left() {
    let fleet = fleet();
    fleet.apply(&table(1, &[("u1", "h:1")]));
    let _claim = fleet.claim(HOST, &[]).unwrap();
    fleet.apply(&table(2, &[("u1", "h:2")]));
    assert_eq!(draining(&fleet), []);
    assert_eq!(fleet.claim(HOST, &[]).unwrap().unit().address, "h:2");
}

#[test]
fn a_unit_is_reached_directly_on_its_own_node_and_where_it_is_published_from_others() {
    let fleet = fleet();
    let mut table = table(1, &[("u1", "172.18.0.2:5000")]);
    for (node, address) in [("n1", "172.18.0.2:5000"), ("n2", "10.77.0.2:49153")] {
        table.apps[0].units[0].published = Some(model::route::Published {
            node: node.parse().unwrap(),
            address: "10.77.0.2:49153".to_owned(),
        });
        fleet.apply(&table);
        assert_eq!(fleet.claim(HOST, &[]).unwrap().unit().address, address, "{node}");
    }
}

#[test]
fn a_unit_that_is_not_published_is_reached_on_its_own_node_only() {
    let fleet = fleet();
    for (version, node, is_reached) in [(1, "n1", true), (2, "n2", false)] {
        let mut table = table(version, &[("u1", "172.18.0.2:5000")]);
        table.apps[0].units[0].node = Some(node.parse().unwrap());
        fleet.apply(&table);
        // Here its address may be another unit's.
        assert_eq!(fleet.claim(HOST, &[]).is_ok(), is_reached, "{node}");
    }
}

#[test]
fn a_unit_left_alone_is_tried_again_by_one_request_only() {
    let manual = service::ManualClock::new(0);
    let place = Place { node: "n1".to_owned(), reserved: String::new() };
    let fleet = Fleet::new(manual.clock(), Signals::default(), place);
    fleet.apply(&table(1, &[("u1", "h:1"), ("u2", "h:2")]));
    let dead = fleet.units().into_iter().find(|unit| unit.id.as_str() == "u1").unwrap();
    dead.failed(std::time::Duration::ZERO);
    manual.advance(balance::FIRST_HOLD);
    let chosen = (0..200).filter(|_| fleet.claim(HOST, &[]).unwrap().unit().id == dead.id).count();
    assert_eq!(chosen, 1);
}

#[test]
fn the_platforms_own_name_belongs_to_no_app() {
    let fleet = fleet();
    fleet.apply(&table(1, &[("u1", "h:1")]));
    assert!(fleet.claim("other.apps.localhost", &[]).is_ok(), "the wildcard");
    assert_eq!(fleet.claim("deis.apps.localhost", &[]).err(), Some(NoUnit::UnknownHost));
    assert_eq!(fleet.claim("elsewhere.org", &[]).err(), Some(NoUnit::UnknownHost));
}

#[test]
fn a_request_goes_to_each_unit_once() {
    let fleet = fleet();
    fleet.apply(&table(1, &[("u1", "h:1"), ("u2", "h:2")]));
    let first = fleet.claim(HOST, &[]).unwrap().unit().clone();
    let second = fleet.claim(HOST, std::slice::from_ref(&first)).unwrap().unit().clone();
    assert_ne!(first.id, second.id);
    assert_eq!(fleet.claim(HOST, &[first, second]).err(), Some(NoUnit::AllTried));
}

#[test]
fn maintenance_comes_before_units() {
    let fleet = fleet();
    let mut table = table(1, &[]);
    table.apps[0].maintenance = true;
    fleet.apply(&table);
    assert_eq!(fleet.claim(HOST, &[]).err(), Some(NoUnit::Maintenance));
}

/// Requests on several threads against changing tables: a request started after a version was told never goes to a unit
/// that is not in it, and the count told for a left unit covers every request that did.
#[test]
fn after_a_version_was_told_only_its_units_are_chosen() {
    let fleet = fleet();
    fleet.apply(&table(0, &[("u0", "h:0")]));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let told = fleet.version().unwrap();
                    let claim = fleet.claim(HOST, &[]).unwrap();
                    let number: u64 = claim.unit().id.as_str()[1..].parse().unwrap();
                    assert!(number >= told, "version {told} was told, but {number} was chosen");
                    if told == 2_000 {
                        return;
                    }
                }
            });
        }
        for version in 1..=2_000 {
            fleet.apply(&table(version, &[(&format!("u{version}"), "h:1")]));
        }
    });
    assert_eq!(draining(&fleet), []);
}
