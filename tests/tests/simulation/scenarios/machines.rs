//! Machines, agents and engines that end, one or all of them.

use std::collections::BTreeMap;

use model::app::Class;
use model::name::{AppName, UnitId};
use model::unit::Unit;

use super::{COUNT, Cluster};
use crate::brain::DEFAULT_MEMORY;
use crate::operators::Chore;
use crate::people::{Act, process};
use crate::run::alone;

/// Scenario 1.
#[test]
fn a_node_without_power_is_made_up_for_in_15_s() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, started) = (cluster.bystander(), cluster.calls("start"));
        let (leader, lost) = (cluster.world.leader(), cluster.on(node));
        cluster.world.power_off(node);
        cluster.within(15, "as many are well as before", |it| it.well() == COUNT).await;
        cluster.during(60, "no other is touched", |it| it.calls("start") == started + lost).await;
        assert_eq!((cluster.calls("stop"), cluster.world.leader()), (0, leader));
        cluster.ends_well().await;
    });
}

/// Scenario 2.
#[test]
fn a_node_without_power_is_made_up_for_in_15_s_though_its_controller_led() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (leader, started) = (cluster.world.leader().unwrap(), cluster.calls("start"));
        let lost = cluster.on(leader);
        cluster.world.power_off(leader);
        cluster.within(15, "as many are well as before", |it| it.well() == COUNT).await;
        cluster.during(60, "no other is touched", |it| it.calls("start") == started + lost).await;
        assert_eq!(cluster.calls("stop"), 0);
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
        let there = cluster.on(node);
        cluster.world.stop_agent(node);
        cluster.during(55, "nothing is done yet", |it| it.calls("start") == started).await;
        cluster.within(25, "they are made up for", |it| it.well() == COUNT + there).await;
        cluster.world.start_agent(node);
        cluster.during(60, "all that are wanted serve", |it| it.well() >= COUNT).await;
        assert_eq!(cluster.calls("start"), started + there);
        cluster.ends_well().await;
    });
}

/// Scenario 8, of a unit that may not run twice: a dead agent cannot end it, so nobody else starts it.
#[test]
fn an_exclusive_unit_without_agent_is_started_nowhere_else() {
    alone(async {
        let cluster = Cluster::serving().await;
        let once = Act::Place { process: process("web"), zone: None, exclusive: true };
        cluster.done(once).await;
        assert_eq!(cluster.world.settles().await, Ok(()));
        let (node, started) = (cluster.bystander(), cluster.calls("start"));
        cluster.world.stop_agent(node);
        let is_left = |it: &Cluster| it.calls("start") == started && it.well() == COUNT;
        cluster.during(120, "it serves on, alone", is_left).await;
        cluster.world.start_agent(node);
        cluster.ends_well().await;
    });
}

/// Scenario 9, of units that may not run twice.
#[test]
fn exclusive_units_of_a_node_cut_off_end_before_they_start_elsewhere() {
    alone(async {
        let cluster = Cluster::serving().await;
        let once = Act::Place { process: process("web"), zone: None, exclusive: true };
        cluster.done(once).await;
        assert_eq!(cluster.world.settles().await, Ok(()));
        let node = cluster.bystander();
        let there = cluster.on(node);
        cluster.world.cut_off(node, true);
        cluster.within(8, "they end", |it| it.well() == COUNT - there).await;
        cluster.within(10, "others start", |it| it.well() == COUNT).await;
        cluster.during(60, "and no more", |it| it.well() == COUNT).await;
        cluster.ends_well().await;
    });
}

/// Scenario 7.
#[test]
fn an_engine_that_is_started_anew_costs_its_own_units_alone() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, started) = (cluster.bystander(), cluster.calls("start"));
        let there = cluster.on(node);
        cluster.world.set_docker(node, true);
        cluster.world.hosts[node].runtime().power_cycle();
        let others_serve = |it: &Cluster| it.well() >= COUNT - there;
        cluster.during(5, "the others serve", others_serve).await;
        cluster.world.set_docker(node, false);
        cluster.during(30, "the others serve", others_serve).await;
        assert_eq!(cluster.calls("start"), started + there);
        cluster.ends_well().await;
    });
}

/// Scenario 19.
#[test]
fn a_cluster_without_power_comes_back_in_60_s_as_it_was() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (before, moves) = (cluster.units(), cluster.calls("stop"));
        (0..3).for_each(|node| cluster.world.power_off(node));
        cluster.during(20, "nothing runs", |it| it.well() == 0).await;
        (0..3).for_each(|node| cluster.world.power_on(node));
        cluster.within(60, "all serve", |it| it.well() == COUNT).await;
        cluster.during(60, "where they were", |it| it.units() == before).await;
        assert_eq!(cluster.calls("stop"), moves);
        cluster.ends_well().await;
    });
}

/// Scenario 20, as far as it is about nodes: the store's members are let go and taken in by rule alone.
#[test]
fn a_lost_machine_is_replaced_by_an_empty_one_and_nothing_else_is_touched() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, leader) = (cluster.bystander(), cluster.world.leader());
        let (started, lost) = (cluster.calls("start"), cluster.on(node));
        cluster.world.power_off(node);
        cluster.within(15, "its units run elsewhere", |it| it.well() == COUNT).await;
        cluster.world.operate(node, Chore::Replace);
        let is_led = |it: &Cluster| it.world.leader() == leader && it.well() == COUNT;
        cluster.during(60, "the others lead and serve on", is_led).await;
        assert!(!cluster.world.is_replacing() && cluster.world.ground.network.is_on(node));
        assert_eq!((cluster.calls("start"), cluster.calls("stop")), (started + lost, 0));
        let counts = BTreeMap::from([(process("web"), 2 * COUNT as u32)]);
        cluster.done(Act::Scale(counts)).await;
        assert!(cluster.has_units(node), "the empty machine takes units");
        assert_eq!(cluster.world.settles().await, Ok(()));
    });
}

/// Scenario 21, as far as it is about nodes.
#[test]
fn a_second_loss_while_a_machine_is_replaced_loses_nothing() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (leader, node) = (cluster.world.leader().unwrap(), cluster.bystander());
        let second = 3 - leader - node;
        cluster.world.power_off(node);
        cluster.within(15, "its units run elsewhere", |it| it.well() == COUNT).await;
        cluster.world.operate(node, Chore::Replace);
        let is_removed = |it: &Cluster| it.world.ground.network.badge(node).is_empty();
        cluster.within(10, "it leaves", |it| it.world.ground.network.is_away(node)).await;
        assert!(is_removed(&cluster), "the empty machine has not joined yet");
        let (kept, here) = (cluster.units(), cluster.on(leader));
        cluster.world.power_off(second);
        cluster.during(40, "what is left serves on", |it| it.well() >= here).await;
        assert_eq!(cluster.world.leader(), None, "one of two members decides nothing");
        assert_eq!(cluster.units(), kept);
        cluster.world.power_on(second);
        cluster.within(60, "the empty machine joins", |it| !it.world.is_replacing()).await;
        cluster.ends_well().await;
    });
}

/// Scenario 28: what the kernel does to containers that use too much.
#[test]
fn units_killed_for_their_memory_take_no_other_app_with_them() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (hungry, fed): (AppName, AppName) = ("blog".parse().unwrap(), "wiki".parse().unwrap());
        cluster.serve(&hungry, Class::Standard, 3).await;
        cluster.serve(&fed, Class::Production, 3).await;
        let others = |it: &Cluster| it.well_of(&fed) == 3 && it.well_of(&it.app) == COUNT;
        for _ in 0..60 {
            for unit in cluster.world.well() {
                if unit.as_str().starts_with("blog-") {
                    let hosts = cluster.world.hosts.iter();
                    hosts.for_each(|host| host.runtime().crash(&unit, 137, true));
                }
            }
            cluster.during(1, "the other apps serve", others).await;
        }
        assert_eq!(cluster.calls("stop"), 0);
        cluster.within(90, "it serves again", |it| it.well_of(&hungry) == 3).await;
        assert_eq!(cluster.world.settles().await, Ok(()));
    });
}

/// Scenario 31.
#[test]
fn without_registries_units_whose_image_is_there_move_and_others_wait_where_they_are() {
    alone(async {
        let cluster = Cluster::serving().await;
        let single: AppName = "blog".parse().unwrap();
        cluster.serve(&single, Class::Standard, 1).await;
        let of_single = |it: &Cluster| -> Vec<Unit> {
            it.units().into_values().filter(|unit| unit.app == single).collect()
        };
        let node = of_single(&cluster)[0].node.clone();
        let node = (0..3).find(|index| *cluster.world.hosts[*index].name() == node).unwrap();
        let registries = &cluster.world.ground.registries;
        (0..3).for_each(|index| registries.set_down(index, true));
        cluster.world.power_off(node);
        cluster.within(15, "those there serve", |it| it.well_of(&it.app) == COUNT).await;
        let placed = |it: &Cluster| -> Vec<UnitId> {
            let wanted = of_single(it).into_iter().filter(|unit| unit.is_wanted());
            wanted.map(|unit| unit.id).collect()
        };
        let waiting = placed(&cluster);
        cluster.during(90, "it waits where it is", |it| placed(it) == waiting).await;
        assert_eq!(cluster.well_of(&single), 0);
        (0..3).for_each(|index| registries.set_down(index, false));
        cluster.within(70, "it is fetched", |it| it.well_of(&single) == 1).await;
        cluster.world.heal();
        assert_eq!(cluster.world.settles().await, Ok(()));
    });
}

/// Scenario 32: two nodes alone have room for four units.
#[test]
fn a_drain_waits_while_another_node_is_dead_and_goes_on_when_it_is_back() {
    alone(async {
        let cluster = Cluster::with_memory(2 * DEFAULT_MEMORY).await;
        let (leader, drained) = (cluster.world.leader().unwrap(), cluster.bystander());
        let dead = 3 - leader - drained;
        cluster.world.power_off(dead);
        cluster.within(15, "its unit runs elsewhere", |it| it.well() == COUNT).await;
        cluster.world.operate(drained, Chore::Drain);
        cluster.during(60, "all serve", |it| it.well() >= COUNT).await;
        assert!(cluster.has_units(drained), "there is no room for all of them elsewhere");
        cluster.world.power_on(dead);
        cluster.within(60, "the drain ends", |it| !it.has_units(drained)).await;
        cluster.during(30, "all serve", |it| it.well() >= COUNT).await;
        assert_eq!(cluster.world.settles().await, Ok(()));
    });
}

/// Scenario 32, both at one moment.
#[test]
fn a_node_that_dies_as_another_is_drained_leaves_enough_that_serve() {
    alone(async {
        let cluster = Cluster::with_memory(2 * DEFAULT_MEMORY).await;
        let (leader, drained) = (cluster.world.leader().unwrap(), cluster.bystander());
        let dead = 3 - leader - drained;
        cluster.world.operate(drained, Chore::Drain);
        cluster.world.power_off(dead);
        cluster.during(90, "enough serve", |it| it.well() >= COUNT - 1).await;
        cluster.world.power_on(dead);
        cluster.within(60, "all serve", |it| it.well() == COUNT && !it.has_units(drained)).await;
        assert_eq!(cluster.world.settles().await, Ok(()));
    });
}
