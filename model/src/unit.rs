//! A unit: one running copy of one process type of one release, on one node.
//!
//! What the controller desires ([`Unit`]) and what the node's agent saw ([`UnitStatus`]) are kept
//! apart: each has one writer. Desire only moves forward: run, drain, stop; then the unit is gone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{AppName, MountPath, NodeName, ProcessType, ReleaseNumber, UnitId, VolumeId};
use crate::time::Time;

/// The desired state of one unit. Written by the controller's leader only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Unique for ever.
    pub id: UnitId,
    /// Its app.
    pub app: AppName,
    /// Its process type.
    pub process: ProcessType,
    /// Its number within the type, as in `web.2`.
    pub ordinal: u32,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// The restart epoch of its type when it was made.
    pub epoch: u64,
    /// Whether it serves on, or runs once.
    pub kind: UnitKind,
    /// Where it was placed.
    pub node: NodeName,
    /// Memory reserved on that node.
    pub memory_bytes: u64,
    /// Whether it may never run twice: its agent ends it when no controller is heard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// The volumes it mounts, by where; all of them are on its node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<MountPath, VolumeId>,
    /// When it was made.
    pub created: Time,
    /// What shall become of it.
    pub desired: Desired,
}

/// Whether a unit serves on or runs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// Restarted when it ends.
    Service,
    /// The release phase: runs once, its exit code decides.
    ReleasePhase,
}

/// What shall become of a unit. Only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "want")]
pub enum Desired {
    /// Run and, once ready, receive traffic.
    Run,
    /// Receive no new traffic; finish what is in flight.
    Drain {
        /// When draining began.
        since: Time,
    },
    /// Stop, with the grace of its type, and be removed.
    Stop {
        /// When stopping began.
        since: Time,
    },
}

/// What the node's agent last saw of a unit. Never stored: reported anew every second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Where it stands.
    pub phase: Phase,
    /// `host:port` where it serves, as its own node reaches it; none before it started.
    pub address: Option<String>,
    /// `host:port` at which other nodes reach it; none where there is one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// How often it was started again after ending or failing its check.
    pub restarts: u32,
    /// When the phase was entered.
    pub since: Time,
    /// How it last ended or failed, if it did.
    pub trouble: Option<Trouble>,
}

/// Where a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Known to the agent, nothing done yet.
    Assigned,
    /// Its image is being fetched.
    Pulling,
    /// Its container is being made and started.
    Starting,
    /// Started, its check has not passed yet.
    Running,
    /// Its check passes.
    Ready,
    /// It ended or failed; it will be started again after a pause.
    Backoff,
    /// Told to stop, not gone yet.
    Stopping,
    /// A unit that runs once has ended; `trouble` is none when it went well.
    Finished,
    /// Gone: no container is left. The controller may forget it.
    Gone,
}

/// How a unit last ended or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What happened, in the user's words: "exited with code 1", "killed: out of memory (limit 512 MiB)".
    pub reason: String,
    /// A stable code: `exited`, `out-of-memory`, `unhealthy`, `image-missing`, `cannot-start`.
    pub code: String,
    /// When.
    pub at: Time,
    /// Its last output lines, at most [`LAST_LINES`].
    pub last_lines: Vec<String>,
}

/// How many of a failing unit's last lines travel with its status.
pub const LAST_LINES: usize = 20;

impl Unit {
    /// The name users see: `web.2`.
    pub fn display_name(&self) -> String {
        format!("{}.{}", self.process, self.ordinal)
    }

    /// Whether it shall serve.
    pub fn is_wanted(&self) -> bool {
        matches!(self.desired, Desired::Run)
    }
}
