//! What the API and the gateway see: the latest snapshot, and what the planners wait for.

use std::sync::Arc;

use model::name::NodeName;
use model::snapshot::Snapshot;
use model::time::Time;
use tokio::sync::watch;

use crate::plan::Waiting;

/// The state after the latest pass.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Stored and heard state.
    pub snapshot: Arc<Snapshot>,
    /// When this was the state. An idle cluster has no new views for a while, so whether somebody is silent is judged as
    /// of this moment, not of the reader's.
    pub as_of: Time,
    /// What cannot be done now, and why.
    pub waiting: Arc<Vec<Waiting>>,
    /// Whose orders this controller sends; none while another leads.
    pub lead: Option<Lead>,
    /// False until the store was read and the start grace has passed or all nodes were heard.
    pub is_warm: bool,
}

/// What orders are sent under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The epoch that was written, or the last one that was seen.
    pub epoch: u64,
    /// The one node that a regent looks after. Others, should they see it again, may have a leader of the same epoch.
    pub only: Option<NodeName>,
}

impl Lead {
    /// Whether a node is to be sent orders.
    pub fn is_for(&self, node: &NodeName) -> bool {
        self.only.as_ref().is_none_or(|only| only == node)
    }
}

/// The latest view; wakes on each new one.
pub type ViewReceiver = watch::Receiver<View>;
