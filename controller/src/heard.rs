//! What agents and routers last said of themselves, and when. Never stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::name::{NodeName, UnitId};
use model::node::{Node, SUSPECT_AFTER_MS};
use model::route::{ROUTER_LOST_AFTER_MS, RouterStatus};
use model::snapshot::Snapshot;
use model::standing::{MOMENTS_MS, standing};
use model::time::Time;
use model::unit::UnitStatus;

/// A cheap handle on what was heard.
#[derive(Clone)]
pub struct Heard(Arc<Mutex<State>>);

struct State {
    listening_since: Time,
    nodes: BTreeMap<NodeName, HeardNode>,
    routers: BTreeMap<NodeName, RouterStatus>,
    changes: u64,
}

struct HeardNode {
    node: Node,
    statuses: BTreeMap<UnitId, UnitStatus>,
}

impl Heard {
    /// Nothing yet.
    pub fn since(now: Time) -> Heard {
        let (nodes, routers) = (BTreeMap::new(), BTreeMap::new());
        Heard(Arc::new(Mutex::new(State { listening_since: now, nodes, routers, changes: 0 })))
    }

    /// Takes a node's report. Says whether a planner may care.
    pub fn node(&self, node: Node, statuses: BTreeMap<UnitId, UnitStatus>) -> bool {
        let mut state = self.lock();
        let changed = state.nodes.get(&node.name).is_none_or(|last| {
            last.statuses != statuses
                || node.heard.since_ms(last.node.heard) >= SUSPECT_AFTER_MS
                || without_gauges(&last.node) != without_gauges(&node)
        });
        state.nodes.insert(node.name.clone(), HeardNode { node, statuses });
        state.changes += u64::from(changed);
        changed
    }

    /// Takes a router's report. Says whether a planner may care.
    pub fn router(&self, node: NodeName, status: RouterStatus) -> bool {
        let mut state = self.lock();
        let changed = state.routers.get(&node).is_none_or(|last| {
            (last.epoch, last.version) != (status.epoch, status.version)
                || last.draining != status.draining
                || status.heard.since_ms(last.heard) >= ROUTER_LOST_AFTER_MS
        });
        state.routers.insert(node, status);
        state.changes += u64::from(changed);
        changed
    }

    /// Grows with every report that changed something.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// How many of the moments that matter each silence has passed: a change is a reason to look again.
    pub fn silences(&self, now: Time) -> Vec<usize> {
        let state = self.lock();
        let heard = state.nodes.values().map(|heard| heard.node.heard);
        let passed = |since: Time| {
            let moments = MOMENTS_MS.iter();
            moments.filter(|moment| now.since_ms(since) >= **moment).count()
        };
        // Nodes never heard count from when listening began.
        heard.chain([state.listening_since]).map(passed).collect()
    }

    /// Completes a snapshot, for a leader of this epoch. A unit's status counts only when its own node tells it, and only
    /// while that node is not lost; a router's table only when this leader made it. Removed nodes say nothing.
    pub fn complete(&self, world: &mut Snapshot, epoch: u64, now: Time) {
        let state = self.lock();
        world.listening_since = state.listening_since;
        let is_member =
            |name: &NodeName| world.specs.get(name).is_none_or(|spec| spec.value.is_member());
        let nodes = state.nodes.iter().filter(|(name, _)| is_member(name));
        world.nodes = nodes.map(|(name, heard)| (name.clone(), heard.node.clone())).collect();
        world.statuses.clear();
        for (name, heard) in &state.nodes {
            if !world.nodes.contains_key(name) || standing(world, name, now).is_lost() {
                continue;
            }
            for (unit, status) in &heard.statuses {
                if world.units.get(unit).is_some_and(|unit| unit.value.node == *name) {
                    world.statuses.insert(unit.clone(), status.clone());
                }
            }
        }
        world.routers.clone_from(&state.routers);
        for router in world.routers.values_mut().filter(|router| router.epoch != epoch) {
            router.version = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node but for what moves without meaning.
fn without_gauges(node: &Node) -> Node {
    Node { disk_free_bytes: 0, heard: Time(0), clock_ahead_ms: 0, ..node.clone() }
}

#[cfg(test)]
mod tests {
    use model::node::Addresses;
    use model::unit::Phase;

    use super::*;

    fn node(heard: u64) -> Node {
        Node {
            name: "n1".parse().unwrap(),
            addresses: Addresses::default(),
            sights: BTreeMap::new(),
            left_running: BTreeMap::new(),
            memory_bytes: 1 << 30,
            sessions_bytes: 0,
            cpu_millis: 2000,
            disk_free_bytes: heard,
            version: String::new(),
            clock_ahead_ms: 0,
            trouble: None,
            heard: Time(heard),
        }
    }

    fn statuses(phase: Phase) -> BTreeMap<UnitId, UnitStatus> {
        let status = UnitStatus {
            published: None,
            phase,
            address: None,
            restarts: 0,
            since: Time(0),
            trouble: None,
        };
        BTreeMap::from([("u1".parse().unwrap(), status)])
    }

    #[test]
    fn only_a_report_that_tells_something_new_counts_as_a_change() {
        let heard = Heard::since(Time(0));
        assert!(heard.node(node(1_000), statuses(Phase::Starting)));
        assert!(!heard.node(node(2_000), statuses(Phase::Starting)));
        assert!(heard.node(node(3_000), statuses(Phase::Ready)));
        assert!(heard.node(
            Node { trouble: Some("no engine".into()), ..node(4_000) },
            statuses(Phase::Ready)
        ));
        assert_eq!(heard.changes(), 3);
    }

    #[test]
    fn a_node_or_router_that_was_lost_is_news_when_it_is_heard_again() {
        let heard = Heard::since(Time(0));
        heard.node(node(1_000), BTreeMap::new());
        assert!(heard.node(node(1_000 + SUSPECT_AFTER_MS), BTreeMap::new()));
        let status =
            |heard| RouterStatus { version: 1, heard: Time(heard), ..RouterStatus::default() };
        assert!(heard.router("n1".parse().unwrap(), status(0)));
        assert!(!heard.router("n1".parse().unwrap(), status(1_000)));
        assert!(heard.router("n1".parse().unwrap(), status(1_000 + ROUTER_LOST_AFTER_MS)));
    }
}
