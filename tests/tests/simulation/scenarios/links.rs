//! Links that are cut, slow, lossy or flap.

use super::{COUNT, Cluster};
use crate::run::alone;

/// Scenario 9.
#[test]
fn a_node_cut_off_keeps_its_units_and_the_others_make_up_for_them() {
    alone(async {
        let cluster = Cluster::serving().await;
        let node = cluster.bystander();
        let there = cluster.on(node);
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
        let there = cluster.on(node);
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

/// Scenario 13: a silence of 5 s is on the verge of a loss, so a move may be begun and taken back once.
#[test]
fn units_of_a_node_that_flaps_move_away_and_are_left_alone_from_then_on() {
    alone(async {
        let cluster = Cluster::serving().await;
        let (node, started) = (cluster.bystander(), cluster.calls("start"));
        let there = cluster.on(node);
        let flap = async |rounds: usize| {
            for round in 0..rounds {
                cluster.world.cut_off(node, round % 2 == 0);
                cluster.during(5, "all serve", |it| it.well() >= COUNT).await;
            }
        };
        flap(6).await;
        let moved = cluster.calls("start");
        assert!(moved <= started + 2 * there, "{started} started before, {moved} now");
        flap(18).await;
        assert_eq!(cluster.calls("start"), moved, "nothing more is moved");
        cluster.ends_well().await;
    });
}
