//! A node: a machine whose agent runs units.

use serde::{Deserialize, Serialize};

use crate::name::NodeName;
use crate::time::Time;

/// What a node's agent last said of its machine. Never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// `host:port` of its agent, for sessions.
    pub agent: String,
    /// Memory that units may reserve, in all.
    pub memory_bytes: u64,
    /// CPU in thousandths of a core.
    pub cpu_millis: u32,
    /// Free bytes where Docker keeps images.
    pub disk_free_bytes: u64,
    /// Why the agent cannot run units now (its Docker Engine is down), if so.
    pub trouble: Option<String>,
    /// When it was last heard.
    pub heard: Time,
}

/// A node not heard for this long gets no new units.
pub const SUSPECT_AFTER_MS: u64 = 3_000;

impl Node {
    /// Whether new units may be placed here.
    pub fn is_placeable(&self, now: Time) -> bool {
        self.trouble.is_none() && now.since_ms(self.heard) < SUSPECT_AFTER_MS
    }
}
