//! What the API and the gateway see: the latest snapshot, and what the planners wait for.

use std::sync::Arc;

use model::name::{AppName, ProcessType, UnitId};
use model::snapshot::Snapshot;
use tokio::sync::watch;

/// The state after the latest pass.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Stored and heard state.
    pub snapshot: Arc<Snapshot>,
    /// What cannot be done now, and why.
    pub waiting: Arc<Vec<Waiting>>,
    /// False until the store was read and the start grace has passed or all nodes were heard.
    pub is_warm: bool,
}

/// The latest view; wakes on each new one.
pub type ViewReceiver = watch::Receiver<View>;

/// Something a planner wants and cannot have now, in words a user reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub app: AppName,
    /// Which type, if it is about one.
    pub process: Option<ProcessType>,
    /// Which unit, if it is about one.
    pub unit: Option<UnitId>,
    /// Stable: `no-room`, `no-node`, `starting`, `draining`.
    pub code: &'static str,
    /// The reason.
    pub reason: String,
}
