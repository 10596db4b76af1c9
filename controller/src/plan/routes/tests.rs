//! Rows and versions of the table.

use model::app::App;
use model::name::{ProcessType, ReleaseNumber};
use model::route::{Certificate, Domain};
use model::snapshot::Versioned;
use model::unit::{Desired, UnitStatus};
use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct World(Snapshot);

fn versioned<T>(value: T) -> Versioned<T> {
    Versioned { value, revision: 1 }
}

impl World {
    fn app(&mut self, name: &str) -> &mut App {
        let app: AppName = name.parse().unwrap();
        let made = App::new(app.clone(), "olga".parse().unwrap(), Time(0));
        &mut self.0.apps.entry(app).or_insert(versioned(made)).value
    }

    fn unit(&mut self, app: &str, process: &str, ordinal: u32, phase: Phase) -> UnitId {
        let id: UnitId = format!("{app}-{process}-{ordinal}").parse().unwrap();
        let unit = Unit {
            exclusive: false,
            mounts: std::collections::BTreeMap::new(),
            id: id.clone(),
            app: app.parse().unwrap(),
            process: process.parse::<ProcessType>().unwrap(),
            ordinal,
            release: ReleaseNumber(1),
            epoch: 0,
            kind: UnitKind::Service,
            node: "n1".parse().unwrap(),
            memory_bytes: 1,
            created: Time(0),
            desired: Desired::Run,
        };
        self.0.units.insert(id.clone(), versioned(unit));
        self.phase(&id, phase);
        id
    }

    fn phase(&mut self, unit: &UnitId, phase: Phase) {
        let address = Some(format!("10.0.0.1:{}", unit.as_str().len()));
        let status = UnitStatus {
            published: None,
            phase,
            address,
            restarts: 0,
            since: Time(0),
            trouble: None,
        };
        self.0.statuses.insert(unit.clone(), status);
    }

    fn desire(&mut self, unit: &UnitId, desired: Desired) {
        self.0.units.get_mut(unit).unwrap().value.desired = desired;
    }

    fn routes(&self) -> Routes {
        routes(&self.0, "apps.localhost")
    }

    fn units_of(&self, app: &str) -> Vec<String> {
        let routes = self.routes();
        let row = routes.apps.iter().find(|row| row.app.as_str() == app).unwrap();
        row.units.iter().map(|endpoint| endpoint.unit.to_string()).collect()
    }
}

#[test]
fn only_wanted_ready_web_units_are_routed_in_a_stable_order() {
    let mut world = World::default();
    world.app("shop");
    world.unit("shop", "web", 2, Phase::Ready);
    world.unit("shop", "web", 10, Phase::Ready);
    world.unit("shop", "web", 1, Phase::Ready);
    world.unit("shop", "worker", 1, Phase::Ready);
    for (ordinal, phase) in [(3, Phase::Running), (4, Phase::Backoff), (5, Phase::Stopping)] {
        world.unit("shop", "web", ordinal, phase);
    }
    let drained = world.unit("shop", "web", 6, Phase::Ready);
    world.desire(&drained, Desired::Drain { since: Time(1) });
    assert_eq!(world.units_of("shop"), ["shop-web-1", "shop-web-2", "shop-web-10"]);
    assert_eq!(world.routes(), world.routes());
}

#[test]
fn an_app_without_units_keeps_its_row_and_a_destroyed_one_has_none() {
    let mut world = World::default();
    world.app("shop").maintenance = true;
    world.app("gone").destroyed = Some(Time(1));
    world.unit("gone", "web", 1, Phase::Ready);
    for (host, app) in [("www.shop.com", "shop"), ("*.gone.com", "gone")] {
        let domain =
            Domain { host: host.parse().unwrap(), app: app.parse().unwrap(), created: Time(0) };
        world.0.domains.insert(domain.host.clone(), versioned(domain));
    }
    for app in ["shop", "gone"] {
        let certificate = Certificate {
            name: app.to_owned(),
            app: app.parse().unwrap(),
            hosts: vec!["www.shop.com".parse().unwrap()],
            chain_pem: "chain".to_owned(),
            key: Sealed("sealed".to_owned()),
            not_after: Time(9),
            created: Time(0),
        };
        world.0.certificates.insert(app.to_owned(), versioned(certificate));
    }
    let routes = world.routes();
    assert_eq!(routes.apps.len(), 1);
    let hosts: Vec<&str> = routes.apps[0].hosts.iter().map(|host| host.as_str()).collect();
    assert_eq!(hosts, ["shop.apps.localhost", "www.shop.com"]);
    assert!(routes.apps[0].maintenance && routes.apps[0].units.is_empty());
    assert_eq!(routes.certificates.len(), 1);
    assert_eq!(routes.certificates[0].name, "shop");
}

#[test]
fn a_certificate_serves_its_own_apps_names_only() {
    let mut world = World::default();
    world.app("shop");
    world.app("thief");
    let hosts = ["*.apps.localhost", "shop.apps.localhost", "www.shop.com"];
    let certificate = Certificate {
        name: "stolen".to_owned(),
        app: "thief".parse().unwrap(),
        hosts: hosts.map(|host| host.parse().unwrap()).to_vec(),
        chain_pem: String::new(),
        key: Sealed(String::new()),
        not_after: Time(9),
        created: Time(0),
    };
    world.0.certificates.insert("stolen".to_owned(), versioned(certificate));
    let routes = world.routes();
    assert_eq!(routes.certificates[0].hosts, ["thief.apps.localhost".parse().unwrap()]);
}

#[test]
fn entering_leaving_and_being_forgotten_is_remembered_by_version() {
    let mut world = World::default();
    let mut tracker = Tracker::default();
    world.app("shop");
    let unit = world.unit("shop", "web", 1, Phase::Starting);
    assert!(tracker.follow(world.routes(), Time(1_000)));
    assert!(!tracker.follow(world.routes(), Time(2_000)));
    world.phase(&unit, Phase::Ready);
    assert!(tracker.follow(world.routes(), Time(3_000)));
    tracker.complete(&mut world.0);
    assert_eq!((world.0.table_version, world.0.entered_routes_at[&unit]), (3_000, 3_000));
    world.desire(&unit, Desired::Drain { since: Time(4_000) });
    // The clock was set back: versions grow all the same.
    assert!(tracker.follow(world.routes(), Time(5)));
    tracker.complete(&mut world.0);
    assert_eq!(world.0.left_routes_at[&unit], 3_001);
    assert!(world.0.entered_routes_at.is_empty());
    world.0.units.clear();
    assert!(!tracker.follow(world.routes(), Time(6)));
    tracker.complete(&mut world.0);
    assert!(world.0.left_routes_at.is_empty());
}

#[test]
fn a_unit_at_a_new_address_enters_anew() {
    let mut world = World::default();
    let mut tracker = Tracker::default();
    world.app("shop");
    let unit = world.unit("shop", "web", 1, Phase::Ready);
    tracker.follow(world.routes(), Time(1));
    world.0.statuses.get_mut(&unit).unwrap().address = Some("10.0.0.9:80".to_owned());
    assert!(tracker.follow(world.routes(), Time(2)));
    tracker.complete(&mut world.0);
    assert_eq!(world.0.entered_routes_at[&unit], 2);
}

#[test]
fn a_table_that_is_not_ours_is_overtaken_once_and_acknowledges_nothing() {
    let mut world = World::default();
    let mut tracker = Tracker::default();
    assert!(!tracker.overtake(9), "there is no table yet");
    world.app("shop");
    let unit = world.unit("shop", "web", 1, Phase::Ready);
    tracker.follow(world.routes(), Time(1));
    assert!(!tracker.overtake(1));
    assert!(tracker.overtake(9) && !tracker.overtake(10));
    tracker.complete(&mut world.0);
    assert_eq!((world.0.table_version, world.0.entered_routes_at[&unit]), (10, 10));
}

proptest! {
    /// A unit is in the table exactly when it entered; it is never both in and out; versions only grow, and only
    /// when something changed.
    #[test]
    fn the_tracker_agrees_with_the_table(steps in prop::collection::vec((0..4u32, 0..5u8, 0..50u64), 1..60)) {
        let mut world = World::default();
        world.app("shop");
        let mut tracker = Tracker::default();
        for (ordinal, what, time) in steps {
            let id: UnitId = format!("shop-web-{ordinal}").parse().unwrap();
            match what {
                0 => { world.unit("shop", "web", ordinal, Phase::Ready); }
                1 => { world.unit("shop", "web", ordinal, Phase::Backoff); }
                2 => { world.0.units.remove(&id); }
                3 if world.0.units.contains_key(&id) => world.desire(&id, Desired::Drain { since: Time(0) }),
                _ => {}
            }
            let (before, last) = (tracker.version(), tracker.routes().clone());
            let is_new = tracker.follow(world.routes(), Time(time));
            prop_assert_eq!(is_new, before == 0 || last != world.routes());
            prop_assert_eq!(is_new, tracker.version() > before);
            tracker.complete(&mut world.0);
            let routed = world.units_of("shop");
            let entered: Vec<String> = world.0.entered_routes_at.keys().map(ToString::to_string).collect();
            prop_assert_eq!(&entered, &routed);
            for (unit, version) in &world.0.left_routes_at {
                prop_assert!(!routed.contains(&unit.to_string()) && *version <= tracker.version());
                prop_assert!(world.0.units.contains_key(unit));
            }
        }
    }
}
