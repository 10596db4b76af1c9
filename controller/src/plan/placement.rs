//! Where a new unit goes: the node with room that runs the fewest of its kind.

use std::collections::BTreeMap;

use model::name::{AppName, NodeName, ProcessType};
use model::node::Duty;
use model::snapshot::Snapshot;
use model::time::Time;

/// Free memory per node, and what runs there. Counted once per pass, kept up as units are placed.
pub struct Room {
    nodes: BTreeMap<NodeName, NodeRoom>,
    silent: usize,
}

struct NodeRoom {
    free_bytes: u64,
    of_type: BTreeMap<(AppName, ProcessType), u32>,
}

/// Why no node was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `no-node` or `no-room`.
    pub code: &'static str,
    /// In the user's words.
    pub reason: String,
}

impl Room {
    /// Counts a snapshot.
    pub fn of(snapshot: &Snapshot, now: Time) -> Room {
        let mut room = Room { nodes: BTreeMap::new(), silent: 0 };
        for node in snapshot.nodes.values() {
            let spec = snapshot.specs.get(&node.name).map(|spec| spec.value.duty);
            if node.is_placeable(now) && spec.is_none_or(|duty| duty == Duty::Open) {
                let free_bytes = node.memory_bytes.saturating_sub(node.sessions_bytes);
                let here = NodeRoom { free_bytes, of_type: BTreeMap::new() };
                room.nodes.insert(node.name.clone(), here);
            } else {
                room.silent += 1;
            }
        }
        for unit in snapshot.units.values().map(|unit| &unit.value) {
            if let Some(node) = room.nodes.get_mut(&unit.node) {
                node.take(&unit.app, &unit.process, unit.memory_bytes);
            }
        }
        room
    }

    /// Chooses a node and reserves the memory there.
    pub fn place(
        &mut self,
        app: &AppName,
        process: &ProcessType,
        memory_bytes: u64,
    ) -> Result<NodeName, Refusal> {
        let key = (app.clone(), process.clone());
        let fitting = self.nodes.iter().filter(|(_, node)| node.free_bytes >= memory_bytes);
        let best = fitting.min_by_key(|(_, node)| {
            (node.of_type.get(&key).copied().unwrap_or(0), u64::MAX - node.free_bytes)
        });
        let Some(name) = best.map(|(name, _)| name.clone()) else {
            return Err(self.refusal(memory_bytes));
        };
        if let Some(node) = self.nodes.get_mut(&name) {
            node.take(app, process, memory_bytes);
        }
        Ok(name)
    }

    fn refusal(&self, memory_bytes: u64) -> Refusal {
        if self.nodes.is_empty() {
            let reason =
                format!("no node is ready to run units ({} silent or in trouble)", self.silent);
            return Refusal { code: "no-node", reason };
        }
        let most = self.nodes.values().map(|node| node.free_bytes).max().unwrap_or(0);
        let reason = format!(
            "no node has {} MiB of memory free (the most is {} MiB)",
            memory_bytes >> 20,
            most >> 20
        );
        Refusal { code: "no-room", reason }
    }
}

impl NodeRoom {
    fn take(&mut self, app: &AppName, process: &ProcessType, memory_bytes: u64) {
        self.free_bytes = self.free_bytes.saturating_sub(memory_bytes);
        *self.of_type.entry((app.clone(), process.clone())).or_default() += 1;
    }
}
