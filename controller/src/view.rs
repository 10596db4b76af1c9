//! What the API and the gateway see: the latest snapshot, and what the planners wait for.

use std::sync::Arc;

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
    /// The epoch of this controller's lead; none while another leads.
    pub epoch: Option<u64>,
    /// False until the store was read and the start grace has passed or all nodes were heard.
    pub is_warm: bool,
}

/// The latest view; wakes on each new one.
pub type ViewReceiver = watch::Receiver<View>;
