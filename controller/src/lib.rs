//! The controller: the public API, the gateway for all other parts, and the planning leader.
//!
//! In come HTTP requests of people (`api`), calls of the other parts (`gateway`), and what both
//! left in the store; out go documents in the store, assignments for agents and route tables for
//! routers. It never talks to Docker and never serves an app's traffic. Read `records` (what is
//! stored), then `observe`, `plan` and `apply` (how the world follows), then `api`.

pub mod accounts;
pub mod api;
pub mod change;
pub mod environment;
pub mod follow;
pub mod logs;
pub mod plan;
pub mod platform;
pub mod progress;
pub mod records;
pub mod seal;
pub mod view;

use std::sync::Arc;

use service::{Clock, Identity, Wake};

use crate::logs::Logs;
use crate::platform::Platform;
use crate::records::Records;
use crate::seal::Seal;
use crate::view::ViewReceiver;

/// What handlers of the API and the gateway share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Stored documents.
    pub records: Records,
    /// The sealing key.
    pub seal: Arc<Seal>,
    /// The latest view.
    pub view: ViewReceiver,
    /// Wakes the planners after a write.
    pub wake: Wake,
    /// The time.
    pub clock: Clock,
    /// This controller's own certificate, for calls to agents, loggers and registries.
    pub identity: Identity,
    /// Names, doors and defaults of this platform.
    pub platform: Arc<Platform>,
    /// The app's logs: read, said to, forgotten.
    pub logs: Logs,
}
