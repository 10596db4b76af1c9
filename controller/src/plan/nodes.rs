//! What the cluster remembers of its nodes: each one that is heard, and where.

use std::collections::BTreeMap;

use model::node::{Duty, NodeSpec};
use model::snapshot::Snapshot;
use model::time::Time;

use super::{Action, Plan};

/// Remembers nodes heard for the first time, and new addresses of known ones.
pub(super) fn know(snapshot: &Snapshot, now: Time, plan: &mut Plan) {
    for node in snapshot.nodes.values() {
        let known = snapshot.specs.get(&node.name);
        if known.is_some_and(|known| known.value.addresses == node.addresses) {
            continue;
        }
        let addresses = node.addresses.clone();
        let spec = match known {
            Some(known) => NodeSpec { addresses, ..known.value.clone() },
            None => NodeSpec {
                name: node.name.clone(),
                addresses,
                labels: BTreeMap::new(),
                duty: Duty::Open,
                joined: now,
                admission: String::new(),
            },
        };
        plan.actions.push(Action::KnowNode { spec, revision: known.map(|known| known.revision) });
    }
}
