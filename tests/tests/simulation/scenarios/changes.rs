//! Releases that are bad, and leaders that die in the middle of a change.

use std::time::Duration;

use model::app::Outcome;
use model::name::UnitId;

use super::{COUNT, Cluster, push};
use crate::people::Quality;
use crate::run::alone;

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
