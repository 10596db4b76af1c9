//! Units whose data is on one node: what becomes of them when it is lost, cut off or drained.

use super::{COUNT, Cluster};
use crate::operators::Chore;
use crate::people::{Act, process};
use crate::run::alone;

impl Cluster {
    /// All units mount a volume of this node.
    async fn bound_to(&self, node: usize) {
        self.done(Act::Keep { process: process("web"), node: Some(node) }).await;
        assert_eq!(self.world.settles().await, Ok(()));
        assert_eq!(self.on(node), COUNT);
    }

    /// Whether this is why a unit waits.
    fn waits(&self, reason: &str) -> bool {
        let leader = self.world.leader().and_then(|leader| self.world.brains[leader].life());
        leader.is_some_and(|life| {
            let view = life.mind.view.borrow().clone();
            view.waiting.iter().any(|waiting| waiting.reason.contains(reason))
        })
    }
}

#[test]
fn units_wait_for_the_node_that_has_their_data_and_serve_when_it_returns() {
    alone(async {
        let cluster = Cluster::serving().await;
        let node = cluster.bystander();
        cluster.bound_to(node).await;
        let (units, started) = (cluster.units(), cluster.calls("start"));
        cluster.world.power_off(node);
        let lost = format!("its volume `data` is on n{node}, which is lost");
        cluster.within(15, "they wait with a reason", |it| it.waits(&lost)).await;
        let is_left = |it: &Cluster| it.well() == 0 && it.calls("start") == started;
        cluster.during(120, "nothing starts elsewhere", is_left).await;
        cluster.world.power_on(node);
        cluster.within(30, "they serve again", |it| it.well() == COUNT).await;
        assert_eq!(cluster.units(), units, "the same units");
        cluster.ends_well().await;
    });
}

#[test]
fn units_on_a_node_that_is_cut_off_serve_on_and_are_left_alone_when_it_returns() {
    alone(async {
        let cluster = Cluster::serving().await;
        let node = cluster.bystander();
        cluster.bound_to(node).await;
        let calls = cluster.calls("");
        cluster.world.cut_off(node, true);
        let is_untouched = |it: &Cluster| it.well() == COUNT && it.calls("") == calls;
        cluster.during(60, "they run on, alone", is_untouched).await;
        assert!(cluster.waits("which is lost"));
        cluster.world.cut_off(node, false);
        cluster.during(30, "none is started anew", is_untouched).await;
        cluster.ends_well().await;
    });
}

#[test]
fn a_drain_waits_for_units_that_are_bound_and_ends_when_they_are_not() {
    alone(async {
        let cluster = Cluster::serving().await;
        let node = cluster.bystander();
        cluster.bound_to(node).await;
        let calls = cluster.calls("");
        cluster.world.operate(node, Chore::Drain);
        let is_untouched = |it: &Cluster| it.well() == COUNT && it.calls("") == calls;
        cluster.during(60, "they serve on where they are", is_untouched).await;
        assert!(cluster.waits(&format!("is on n{node}, which is being drained")));
        cluster.ask(Act::Keep { process: process("web"), node: None });
        cluster.within(60, "they leave", |it| it.on(node) == 0 && it.well() == COUNT).await;
        cluster.ends_well().await;
    });
}
