//! Writes that win and writes that lose, over a store in memory.

use std::sync::Arc;

use model::app::{Deploy, Settled};
use model::name::{ProcessType, ReleaseNumber, UnitId};
use model::node::{Addresses, Duty, NodeSpec};
use model::release::{Release, ReleaseState};
use model::route::Domain;
use model::time::Time;
use model::unit::{Desired, Unit, UnitKind};
use store::MemoryStore;

use super::*;
use crate::leader::Signs;
use crate::observe::Observer;
use crate::records::{domain_key, unit_key};

struct World {
    records: Records,
    applier: Applier,
    name: AppName,
}

impl World {
    /// One app in the store, and a leader.
    async fn new() -> World {
        let records = Records::new(Arc::new(MemoryStore::new()));
        let app = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(0));
        records.commit(Write::new().create(&app)).await.unwrap();
        let leader = Leader::new(records.clone(), "n1");
        leader.take(Signs::default()).await.unwrap();
        let applier = Applier { records: records.clone(), leader };
        World { records, applier, name: app.name }
    }

    async fn snapshot(&self) -> Arc<Snapshot> {
        Observer::start(self.records.clone()).await.unwrap().snapshot(|_| {}).0
    }

    async fn apply(&self, actions: &[Action], snapshot: &Snapshot) -> Applied {
        self.applier.apply(actions, snapshot).await.unwrap()
    }

    async fn stored_unit(&self, id: &str) -> Option<Versioned<Unit>> {
        let id: UnitId = id.parse().unwrap();
        self.records.get(&unit_key(&id)).await.unwrap()
    }
}

fn unit(id: &str) -> Unit {
    Unit {
        exclusive: false,
        mounts: std::collections::BTreeMap::new(),
        id: id.parse().unwrap(),
        app: "shop".parse().unwrap(),
        process: ProcessType::web(),
        ordinal: 1,
        release: ReleaseNumber(1),
        epoch: 0,
        kind: UnitKind::Service,
        node: "n1".parse().unwrap(),
        memory_bytes: 1,
        created: Time(0),
        desired: Desired::Run,
    }
}

fn release(app: &AppName, number: u32) -> Release {
    Release {
        app: app.clone(),
        number: ReleaseNumber(number),
        created: Time(0),
        created_by: "olga".parse().unwrap(),
        summary: String::new(),
        build: None,
        config: Default::default(),
        settings: Default::default(),
        state: ReleaseState::Deploying,
    }
}

#[tokio::test]
async fn many_new_units_are_one_write() {
    let world = World::new().await;
    let snapshot = world.snapshot().await;
    let starts: Vec<Action> =
        (0..10).map(|number| Action::StartUnit(unit(&format!("u{number}")))).collect();
    let before = world.records.store().list("").await.unwrap().revision.0;
    let applied = world.apply(&starts, &snapshot).await;
    assert_eq!((applied.done, applied.stale, applied.revision), (10, 0, before + 1));
    assert_eq!(world.snapshot().await.units.len(), 10);
}

#[tokio::test]
async fn a_unit_is_not_started_for_an_app_that_changed_meanwhile() {
    let world = World::new().await;
    let snapshot = world.snapshot().await;
    let app = &snapshot.apps[&world.name];
    let changed = App { destroyed: Some(Time(1)), ..app.value.clone() };
    world.records.commit(Write::new().replace(&changed, app.revision)).await.unwrap();
    let applied = world.apply(&[Action::StartUnit(unit("u1"))], &snapshot).await;
    assert_eq!((applied.done, applied.stale), (0, 1));
    assert_eq!(world.stored_unit("u1").await, None);
}

#[tokio::test]
async fn one_lost_race_does_not_hold_up_the_other_units() {
    let world = World::new().await;
    let all = [unit("u1"), unit("u2")];
    let starts = all.clone().map(Action::StartUnit);
    world.apply(&starts, &*world.snapshot().await).await;
    let snapshot = world.snapshot().await;
    let stop = |id: &str| {
        let read = snapshot.units[&id.parse::<UnitId>().unwrap()].clone();
        let value = Unit { desired: Desired::Stop { since: Time(5) }, ..read.value };
        Action::MoveUnit(Versioned { value, revision: read.revision })
    };
    assert_eq!(world.apply(&[stop("u1")], &snapshot).await.done, 1);
    let applied = world.apply(&[stop("u1"), stop("u2")], &snapshot).await;
    assert_eq!((applied.done, applied.stale), (1, 1));
    assert!(!world.stored_unit("u2").await.unwrap().value.is_wanted());
}

#[tokio::test]
async fn nothing_is_written_after_the_lead_is_lost() {
    let world = World::new().await;
    let snapshot = world.snapshot().await;
    let rival = Leader::new(world.records.clone(), "n2");
    rival.take(rival.signs().await.unwrap()).await.unwrap();
    let applied = world.apply(&[Action::StartUnit(unit("u1"))], &snapshot).await;
    assert_eq!((applied.done, applied.stale), (0, 1));
    let app = &snapshot.apps[&world.name];
    let forgotten = world.applier.forget(app, &snapshot).await;
    assert!(matches!(forgotten, Err(CommitError::Conflict)));
    let applier = Applier { records: world.records.clone(), leader: rival };
    assert_eq!(applier.apply(&[Action::StartUnit(unit("u1"))], &snapshot).await.unwrap().done, 1);
}

#[tokio::test]
async fn a_unit_with_volumes_is_not_started_on_a_node_that_changed_meanwhile() {
    let world = World::new().await;
    let spec = NodeSpec {
        name: "n1".parse().unwrap(),
        addresses: Addresses::default(),
        labels: std::collections::BTreeMap::new(),
        duty: Duty::Open,
        joined: Time(0),
        admission: String::new(),
    };
    let made = world.records.commit(Write::new().create(&spec)).await.unwrap();
    let snapshot = world.snapshot().await;
    let again = NodeSpec { joined: Time(9), ..spec };
    world.records.commit(Write::new().replace(&again, made.0)).await.unwrap();
    let mounts = [("/data".parse().unwrap(), "shop-data-1".parse().unwrap())].into();
    let starts = [unit("plain"), Unit { mounts, ..unit("bound") }].map(Action::StartUnit);
    let applied = world.apply(&starts, &snapshot).await;
    assert_eq!((applied.done, applied.stale), (1, 1));
    assert!(world.stored_unit("bound").await.is_none());
}

#[tokio::test]
async fn the_end_of_a_deploy_is_written_to_app_and_release_together_and_told() {
    let world = World::new().await;
    let read = world.snapshot().await.apps[&world.name].clone();
    let deploy = Deploy { release: ReleaseNumber(1), started: Time(0) };
    let target = App { target: Some(deploy), generation: 1, ..read.value };
    let made = release(&world.name, 1);
    let write = Write::new().replace(&target, read.revision).create(&made);
    world.records.commit(write).await.unwrap();
    let snapshot = world.snapshot().await;
    let mut app = snapshot.apps[&world.name].clone();
    app.value.target = None;
    app.value.settled = Settled { generation: 1, outcome: Outcome::Live };
    let mut ended = snapshot.releases[&(world.name.clone(), ReleaseNumber(1))].clone();
    ended.value.state = ReleaseState::Succeeded;
    let end = Action::EndDeploy { app: Box::new(app), release: Box::new(ended) };
    let applied = world.apply(std::slice::from_ref(&end), &snapshot).await;
    assert_eq!(applied.ended, [(world.name.clone(), "v1 is live".to_owned())]);
    let now = world.snapshot().await;
    assert!(now.apps[&world.name].value.is_settled());
    let again = world.apply(&[end], &snapshot).await;
    assert_eq!((again.stale, again.ended.len()), (1, 0));
}

#[tokio::test]
async fn a_destroyed_app_goes_with_all_it_owns_and_nothing_else() {
    let world = World::new().await;
    let other: AppName = "blog".parse().unwrap();
    let mut write = Write::new().create(&release(&other, 1));
    let domain = |host: &str, app: &AppName| Domain {
        host: host.parse().unwrap(),
        app: app.clone(),
        created: Time(0),
    };
    write = write.create(&domain("www.shop.com", &world.name)).create(&domain("b.com", &other));
    world.records.commit(write).await.unwrap();
    for number in 1..=150 {
        let made = release(&world.name, number);
        world.records.commit(Write::new().create(&made)).await.unwrap();
    }
    let mut app = world.snapshot().await.apps[&world.name].clone();
    let volume = Volume {
        id: "shop-data-1".parse().unwrap(),
        node: "n1".parse().unwrap(),
        created: Time(0),
        mounts: std::collections::BTreeMap::new(),
    };
    let doomed = volume.doomed(&world.name);
    app.value.volumes.insert("data".parse().unwrap(), volume);
    world.records.commit(Write::new().replace(&app.value, app.revision)).await.unwrap();
    let snapshot = world.snapshot().await;
    world.applier.forget(&snapshot.apps[&world.name], &snapshot).await.unwrap();
    let now = world.snapshot().await;
    assert!(now.apps.is_empty());
    assert_eq!(now.releases.len(), 1);
    assert_eq!(now.domains.len(), 1);
    let left: Vec<_> = now.doomed.values().map(|left| left.value.clone()).collect();
    assert_eq!(left, [doomed], "its agent is told to delete it");
    let gone = world.records.get::<Domain>(&domain_key(&"www.shop.com".parse().unwrap())).await;
    assert_eq!(gone.unwrap(), None);
}

#[tokio::test]
async fn a_decision_the_store_refuses_keeps_no_other_back() {
    let world = World::new().await;
    let snapshot = world.snapshot().await;
    let started = ["u1", "u2"].map(|id| Action::StartUnit(unit(id)));
    world.apply(&started, &snapshot).await;
    let known = world.stored_unit("u1").await.unwrap();
    let stop = Unit { desired: Desired::Stop { since: Time(1) }, ..known.value };
    let stop = Action::MoveUnit(Versioned { value: stop, revision: known.revision });
    // Twice in one transaction is what a store does not take.
    let actions = [stop.clone(), stop, Action::StartUnit(unit("u3"))];
    let applied = world.apply(&actions, &snapshot).await;
    assert_eq!((applied.done, applied.stale), (2, 1));
    assert!(world.stored_unit("u3").await.is_some());
}
