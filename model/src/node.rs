//! A node: a machine whose agent runs units. What its agent says of it ([`Node`]), and what the cluster knows of it
//! even while it is silent ([`NodeSpec`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{NodeName, UnitId};
use crate::time::Time;

/// What a node's agent last said of its machine. Never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Where its parts are reached.
    pub addresses: Addresses,
    /// Memory that units may reserve, in all.
    pub memory_bytes: u64,
    /// How much of it is held by what only the agent knows of: one-off commands, and units left running.
    #[serde(default)]
    pub sessions_bytes: u64,
    /// CPU in thousandths of a core.
    pub cpu_millis: u32,
    /// Free bytes where Docker keeps images.
    pub disk_free_bytes: u64,
    /// Why the agent cannot run units now (its Docker Engine is down), if so.
    pub trouble: Option<String>,
    /// How its agent last found the agents of other nodes.
    #[serde(default)]
    pub sights: BTreeMap<NodeName, Sight>,
    /// Units that run although the cluster, which was recovered or restored, does not know them; and until when.
    #[serde(default)]
    pub left_running: BTreeMap<UnitId, Time>,
    /// When it was last heard.
    pub heard: Time,
    /// The version of its programs; empty before they told it.
    #[serde(default)]
    pub version: String,
    /// How far its clock is ahead of the one that set `heard`.
    #[serde(default)]
    pub clock_ahead_ms: i64,
}

/// Where the parts of a node are reached by those of other nodes, each `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Its agent, for one-off commands.
    pub agent: String,
    /// Its logger.
    pub logger: String,
    /// Its registry's side for the other parts.
    pub registry: String,
    /// Its controller's gateway; none on a node without a controller.
    pub gateway: Option<String>,
}

/// How one agent found another when it last tried to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// It answered.
    Reached,
    /// Its machine answered that nothing listens: the agent is down, its units may be well.
    Refused,
    /// Nothing came back.
    Silent,
}

/// What the cluster knows of a node, heard or not. Written by the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name.
    pub name: NodeName,
    /// Where its parts were reached when it was last heard.
    pub addresses: Addresses,
    /// Given by operators; process types may ask for them.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes units.
    pub duty: Duty,
    /// When it came into the cluster.
    pub joined: Time,
    /// What the certificates of its parts must carry, so that those of an earlier machine of the same name prove nothing.
    /// Empty for the node the cluster began on.
    pub admission: String,
}

/// Whether a node takes units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "duty")]
pub enum Duty {
    /// It does.
    Open,
    /// It keeps those it has and takes no new ones.
    Cordoned,
    /// Those it has move away.
    Draining {
        /// Since when.
        since: Time,
    },
    /// It was taken out of the cluster; nothing it says is heard. The name is free for another machine.
    Removed {
        /// When.
        at: Time,
    },
}

/// One node of the cluster as the other nodes need to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// Where its parts are reached.
    pub addresses: Addresses,
}

/// A node not heard for this long gets no new units.
pub const SUSPECT_AFTER_MS: u64 = 3_000;

impl Node {
    /// Whether new units may be placed here, as far as the node itself goes.
    pub fn is_placeable(&self, now: Time) -> bool {
        self.trouble.is_none() && now.since_ms(self.heard) < SUSPECT_AFTER_MS
    }
}

impl NodeSpec {
    /// Whether it is a part of the cluster.
    pub fn is_member(&self) -> bool {
        !matches!(self.duty, Duty::Removed { .. })
    }
}
