//! The store: its leader, its answers, its disks; and clocks.

use std::collections::BTreeMap;
use std::time::Duration;

use model::app::Class;
use model::name::AppName;
use model::unit::Unit;

use super::{COUNT, Cluster, push};
use crate::brain::DEFAULT_MEMORY;
use crate::people::{Act, Quality, process};
use crate::run::alone;

/// Scenario 3: the store's members take a moment to elect another leader of theirs.
#[test]
fn a_moment_without_the_store_touches_nothing_and_writes_go_on_within_3_s() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (other, calls) = (cluster.bystander(), cluster.calls(""));
        every_way(&cluster, 1);
        cluster.during(1, "no unit is touched", |it| it.calls("") == calls).await;
        every_way(&cluster, 0);
        let class = |it: &Cluster| it.world.ground.ledger.documents().apps[&it.app].class;
        for _ in 0..10 {
            cluster.world.ask(other, &cluster.app, PREVIEW);
            cluster.world.pass(Duration::from_millis(200)).await;
        }
        assert_eq!(class(&cluster), Class::Preview, "a write went through in time");
        cluster.during(20, "no unit is touched", |it| it.calls("") == calls).await;
        cluster.ends_well().await;
    });
}

/// Scenarios 4 and 5.
#[test]
fn a_leader_without_its_store_is_followed_in_7_s_and_nothing_is_touched() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (old, calls) = (cluster.world.leader().unwrap(), cluster.calls(""));
        cluster.world.ground.network.store(old, |way| way.cuts = 1);
        let is_followed = |it: &Cluster| it.world.leader().is_some_and(|leader| leader != old);
        cluster.within(7, "another leads", is_followed).await;
        cluster.during(20, "no unit is touched", |it| it.calls("") == calls).await;
        cluster.world.ground.network.store(old, |way| way.cuts = 0);
        cluster.during(20, "no unit is touched", |it| it.calls("") == calls).await;
        cluster.ends_well().await;
    });
}

/// Scenario 24.
#[test]
fn watches_that_lost_their_history_list_anew_and_stop_nothing() {
    alone(async {
        let cluster = Cluster::serving().await;
        let calls = cluster.calls("stop");
        let leader = cluster.world.leader().unwrap();
        let others = || (0..3).filter(|controller| *controller != leader);
        others().for_each(|it| cluster.world.ground.network.store(it, |way| way.cuts = 1));
        cluster.during(5, "all serve", |it| it.well() == COUNT).await;
        let counts = BTreeMap::from([(process("web"), COUNT as u32 + 1)]);
        cluster.done(Act::Scale(counts)).await;
        cluster.world.compact();
        others().for_each(|it| cluster.world.ground.network.store(it, |way| way.cuts = 0));
        cluster.world.brains[leader].kill();
        cluster.during(60, "all serve", |it| it.well() == COUNT + 1).await;
        assert_eq!(cluster.calls("stop"), calls);
        cluster.world.heal();
        assert_eq!(cluster.world.settles().await, Ok(()));
    });
}

/// Scenario 25.
#[test]
fn a_write_whose_answer_is_lost_places_nothing_twice() {
    alone(async {
        let cluster = Cluster::serving().await;
        for controller in 0..3 {
            cluster.world.ground.network.store(controller, |way| (way.loses, way.late) = (25, 25));
        }
        for _ in 0..5 {
            if cluster.world.leader().is_some() {
                cluster.ask(Act::Restart);
            }
            let most = |it: &Cluster| it.units().len() <= 3 * COUNT && it.well() >= COUNT;
            cluster.during(20, "all serve, and none too many", most).await;
        }
        cluster.ends_well().await;
    });
}

/// Scenario 27.
#[test]
fn a_clock_an_hour_off_ends_nothing_and_delays_nothing() {
    for skew_ms in [-3_600_000, 3_600_000] {
        alone(async {
            let cluster = Cluster::serving().await;
            let (leader, calls) = (cluster.world.leader().unwrap(), cluster.calls(""));
            cluster.world.brains.iter().for_each(|brain| brain.set_clock(skew_ms));
            cluster.world.brains[leader].kill();
            cluster.within(7, "another leads", |it| it.world.leader().is_some()).await;
            cluster.world.brains[leader].start();
            cluster.during(60, "no unit is touched", |it| it.calls("") == calls).await;
            cluster.ask(push(2, Quality::Unhealthy));
            cluster.world.pass(Duration::from_millis(500)).await;
            // All of them at once, in the middle of a change, with clocks that are off.
            cluster.world.brains.iter().for_each(|brain| brain.kill());
            cluster.world.brains.iter().for_each(|brain| brain.start());
            cluster.within(90, "the bad release is given up", Cluster::is_settled).await;
            cluster.ends_well().await;
        });
    }
}

/// Scenario 14.
#[test]
fn the_last_of_three_serves_restarts_what_crashes_and_says_why_it_takes_no_change() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, apps) = (cluster.bystander(), &cluster.world.ground.ledger);
        let before = apps.documents().apps.clone();
        (0..3).filter(|other| *other != node).for_each(|other| cluster.world.power_off(other));
        let there = cluster.on(node);
        cluster.during(20, "it serves", |it| it.well() == there).await;
        let (unit, since) = (cluster.world.well().pop_first().unwrap(), cluster.told().len());
        cluster.world.hosts[node].runtime().crash(&unit, 1, false);
        cluster.within(10, "it is started again", |it| it.well() == there).await;
        cluster.world.ask(node, &cluster.app, PREVIEW);
        let is_refused = |it: &Cluster| it.was_told(since, "the store has no quorum");
        cluster.within(5, "a change is refused", is_refused).await;
        let life = cluster.world.brains[node].life().unwrap();
        let read = life.records.app(&cluster.app).await.unwrap().unwrap();
        assert_eq!(read.value, before[&cluster.app], "what is remembered can be read");
        cluster.ends_well().await;
    });
}

/// Scenario 15: the last node has room for four units.
#[test]
fn the_last_of_three_starts_what_production_lacks_as_far_as_its_memory_goes() {
    alone(async {
        let cluster = Cluster::with_memory(4 * DEFAULT_MEMORY).await;
        let names: [AppName; 3] = ["blog", "wiki", "wall"].map(|name| name.parse().unwrap());
        for name in &names {
            cluster.serve(name, Class::Production, 1).await;
        }
        let clock = &names[2];
        let once = Act::Place { process: process("web"), zone: None, exclusive: true };
        cluster.done_for(clock, once).await;
        assert_eq!(cluster.world.settles().await, Ok(()));
        let runs = |unit: &Unit| unit.app == *clock;
        let clock_node = cluster.units().into_values().find(runs).unwrap().node;
        let node = (0..3).find(|node| *cluster.world.hosts[*node].name() != clock_node).unwrap();
        (0..3).filter(|other| *other != node).for_each(|other| cluster.world.power_off(other));
        let has_both = |it: &Cluster| names[..2].iter().all(|name| it.well_of(name) == 1);
        cluster.within(60, "every production type that may run twice has one", has_both).await;
        let none = |it: &Cluster| has_both(it) && it.well_of(clock) == 0;
        cluster.during(60, "and what may run only once is not started", none).await;
        cluster.world.heal();
        assert_eq!(cluster.world.settles().await, Ok(()));
        assert_eq!(cluster.well(), COUNT + 3, "nothing is left of the time without a quorum");
    });
}

/// Scenario 22.
#[test]
fn a_store_that_is_full_refuses_changes_and_touches_nothing() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (other, calls) = (cluster.bystander(), cluster.calls(""));
        let since = cluster.told().len();
        cluster.world.ground.network.set_full(true);
        cluster.during(60, "no unit is touched", |it| it.calls("") == calls).await;
        cluster.world.ask(other, &cluster.app, PREVIEW);
        cluster.world.pass(Duration::from_secs(1)).await;
        assert!(cluster.was_told(since, "not done: shop Classify"));
        cluster.world.ground.network.set_full(false);
        cluster.within(7, "somebody leads again", |it| it.world.leader().is_some()).await;
        cluster.during(30, "no unit is touched", |it| it.calls("") == calls).await;
        cluster.done(push(2, Quality::Good)).await;
        cluster.ends_well().await;
    });
}

/// Scenario 23.
#[test]
fn a_store_that_stalls_for_5_s_again_and_again_costs_no_unit() {
    alone(async {
        let cluster = Cluster::serving().await;
        let calls = cluster.calls("");
        for _ in 0..6 {
            every_way(&cluster, 1);
            cluster.during(5, "no unit is touched", |it| it.calls("") == calls).await;
            every_way(&cluster, 0);
            cluster.during(15, "no unit is touched", |it| it.calls("") == calls).await;
            assert!(cluster.world.leader().is_some(), "somebody leads in between");
        }
        cluster.ends_well().await;
    });
}

/// Changes an app without touching its units.
const PREVIEW: Act = Act::Classify(Class::Preview);

/// Cuts all controllers' ways to the store so many times over.
fn every_way(cluster: &Cluster, cuts: u32) {
    (0..3).for_each(|it| cluster.world.ground.network.store(it, |way| way.cuts = cuts));
}
