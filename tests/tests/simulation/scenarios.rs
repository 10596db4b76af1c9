//! Faults that have names, each with its promise: those of the list in the design that need no real processes.

use std::collections::BTreeMap;
use std::time::Duration;

use model::app::Outcome;
use model::name::{AppName, UnitId};
use model::unit::Unit;
use tokio::time::Instant;

use crate::people::{Act, Quality, process};
use crate::run::alone;
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
        let world = World::new(1, &[1 << 30, 1 << 30, 1 << 30]);
        let cluster = Cluster { world, app: "shop".parse().unwrap() };
        cluster.within(10, "somebody leads", |it| it.world.leader().is_some()).await;
        cluster.done(Act::Create).await;
        cluster.done(push(1, Quality::Good)).await;
        let counts = BTreeMap::from([(process("web"), COUNT as u32)]);
        cluster.done(Act::Scale(counts)).await;
        let rest = cluster.world.settles().await;
        assert_eq!(rest, Ok(()));
        cluster
    }

    fn ask(&self, act: Act) {
        let leader = self.world.leader().expect("somebody leads");
        self.world.ask(leader, &self.app, act);
    }

    /// Asks, and waits until the change came to its end.
    async fn done(&self, act: Act) {
        self.ask(act);
        self.world.pass(Duration::from_millis(200)).await;
        self.within(60, "the change ends", Cluster::is_settled).await;
    }

    fn is_settled(&self) -> bool {
        self.world.ground.ledger.documents().apps.get(&self.app).is_some_and(|app| app.is_settled())
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
        self.units().values().any(|unit| unit.node == *self.world.hosts[node].name())
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

/// Scenario 2.
#[test]
fn a_node_without_power_is_made_up_for_in_15_s_though_its_controller_led() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (leader, started) = (cluster.world.leader().unwrap(), cluster.calls("start"));
        let name = cluster.world.hosts[leader].name().clone();
        let lost = cluster.units().values().filter(|unit| unit.node == name).count();
        cluster.world.power_off(leader);
        cluster.within(15, "as many are well as before", |it| it.well() == COUNT).await;
        cluster.during(60, "no other is touched", |it| it.calls("start") == started + lost).await;
        assert_eq!(cluster.calls("stop"), 0);
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

/// Scenario 6.
#[test]
fn an_agent_that_comes_back_finds_its_units_as_they_were() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, calls) = (cluster.bystander(), cluster.calls(""));
        cluster.world.stop_agent(node);
        cluster.during(5, "all serve on", |it| it.well() == COUNT).await;
        cluster.world.start_agent(node);
        cluster.during(30, "none is restarted", |it| it.calls("") == calls).await;
        cluster.ends_well().await;
    });
}

/// Scenario 8, without units that may not run twice.
#[test]
fn units_of_a_node_without_agent_serve_on_are_made_up_for_once_and_trimmed_when_it_returns() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, started) = (cluster.bystander(), cluster.calls("start"));
        let name = cluster.world.hosts[node].name().clone();
        let there = cluster.units().values().filter(|unit| unit.node == name).count();
        cluster.world.stop_agent(node);
        cluster.during(55, "nothing is done yet", |it| it.calls("start") == started).await;
        cluster.within(25, "they are made up for", |it| it.well() == COUNT + there).await;
        cluster.world.start_agent(node);
        cluster.during(60, "all that are wanted serve", |it| it.well() >= COUNT).await;
        assert_eq!(cluster.calls("start"), started + there);
        cluster.ends_well().await;
    });
}

/// Scenario 9.
#[test]
fn a_node_cut_off_keeps_its_units_and_the_others_make_up_for_them() {
    alone(async {
        let cluster = Cluster::serving().await;
        let node = cluster.bystander();
        let name = cluster.world.hosts[node].name().clone();
        let there = cluster.units().values().filter(|unit| unit.node == name).count();
        cluster.world.cut_off(node, true);
        cluster.within(15, "they are made up for", |it| it.well() == COUNT + there).await;
        cluster.during(45, "those cut off serve on", |it| it.well() == COUNT + there).await;
        cluster.world.cut_off(node, false);
        cluster.during(60, "all that are wanted serve", |it| it.well() >= COUNT).await;
        cluster.ends_well().await;
    });
}

/// Scenario 10.
#[test]
fn a_node_that_hears_and_is_not_heard_is_made_up_for_once() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, started) = (cluster.bystander(), cluster.calls("start"));
        let name = cluster.world.hosts[node].name().clone();
        let there = cluster.units().values().filter(|unit| unit.node == name).count();
        for other in (0..3).filter(|other| *other != node) {
            cluster.world.ground.network.cut(node, other, true);
        }
        let is_replaced = |it: &Cluster| it.calls("start") == started + there;
        cluster.within(15, "they are made up for", is_replaced).await;
        cluster.during(60, "once, and all serve", |it| is_replaced(it) && it.well() >= COUNT).await;
        cluster.ends_well().await;
    });
}

/// Scenario 11.
#[test]
fn a_node_that_a_third_one_sees_is_not_lost_at_once() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (leader, node, calls) =
            (cluster.world.leader().unwrap(), cluster.bystander(), cluster.calls(""));
        cluster.world.ground.network.cut(leader, node, true);
        cluster.world.ground.network.cut(node, leader, true);
        cluster.during(25, "nothing is touched", |it| it.calls("") == calls).await;
        cluster.ends_well().await;
    });
}

/// Scenario 12.
#[test]
fn slow_and_lossy_links_move_nothing() {
    alone(async {
        let cluster = Cluster::serving().await;
        let calls = cluster.calls("");
        cluster.world.ground.network.set_messages(Some(300), Some(30), None);
        cluster.during(120, "no unit is touched", |it| it.calls("") == calls).await;
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

/// Scenario 29.
#[test]
fn a_crashing_release_is_given_up_and_no_old_unit_is_touched() {
    alone(async {
        let cluster = Cluster::serving().await;
        let old: Vec<UnitId> = cluster.units().into_keys().collect();
        cluster.ask(push(2, Quality::Crashing));
        cluster.world.pass(Duration::from_millis(300)).await;
        assert!(!cluster.is_settled());
        let all_serve = |it: &Cluster| old.iter().all(|unit| it.world.well().contains(unit));
        cluster.during(60, "the old ones serve", all_serve).await;
        let outcome =
            cluster.world.ground.ledger.documents().apps[&cluster.app].settled.outcome.clone();
        assert!(cluster.is_settled() && matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
        cluster.ends_well().await;
    });
}

/// Scenario 30.
#[test]
fn a_deploy_whose_leader_dies_is_brought_to_its_end_by_the_next() {
    alone(async {
        let cluster = Cluster::serving().await;
        let old: Vec<UnitId> = cluster.units().into_keys().collect();
        let leader = cluster.world.leader().unwrap();
        cluster.ask(push(2, Quality::Good));
        cluster.within(10, "new ones are placed", |it| it.units().len() == 2 * COUNT).await;
        cluster.world.brains[leader].kill();
        let is_bounded = |it: &Cluster| it.well() >= COUNT && it.units().len() <= 2 * COUNT;
        cluster.during(40, "all serve, and none too many", is_bounded).await;
        let is_done =
            |it: &Cluster| it.is_settled() && it.units().keys().all(|unit| !old.contains(unit));
        cluster.within(40, "the new ones took over", is_done).await;
        cluster.ends_well().await;
    });
}

/// Scenario 13: what flaps is made up for, and not again and again.
#[test]
fn a_flapping_link_moves_each_unit_once_at_most() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, started) = (cluster.bystander(), cluster.calls("start"));
        let name = cluster.world.hosts[node].name().clone();
        let there = cluster.units().values().filter(|unit| unit.node == name).count();
        for round in 0..24 {
            cluster.world.cut_off(node, round % 2 == 0);
            cluster.during(5, "all serve", |it| it.well() >= COUNT).await;
        }
        assert!(cluster.calls("start") <= started + there, "{}", cluster.calls("start") - started);
        cluster.ends_well().await;
    });
}
