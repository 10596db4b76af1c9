//! Where orders come from: a stream of every controller, of which only the leading one sends any.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use link::{Gateways, Listener, Refused};
use model::time::Time;
use proto::gateway::{AssignmentSet, AssignmentsRequest, gateway_client::GatewayClient};
use service::{Clock, Stop};
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    engine::Handle,
    fence::Fence,
    orders::{Orders, OrdersError},
};

/// The largest set: a thousand units with large environments.
const MAX_SET_BYTES: usize = 128 * 1024 * 1024;

/// Takes orders from the gateways, keeps them, and gives them to the engine.
#[derive(Clone)]
pub struct Link {
    /// This node.
    pub node: String,
    /// The gateways.
    pub gateways: Gateways,
    /// Where orders are kept.
    pub folder: PathBuf,
    /// Where orders go.
    pub engine: Handle,
    /// Told of orders.
    pub fence: Fence,
    /// Time.
    pub clock: Clock,
    /// How the link is.
    pub health: LinkHealth,
    /// One set at a time: what is checked against, what is on disk and what is given stay one.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

/// Whether orders are obeyed; shown by the admin endpoint.
#[derive(Debug, Clone)]
pub struct LinkHealth(Arc<Mutex<Result<(), String>>>);

impl Default for LinkHealth {
    fn default() -> LinkHealth {
        LinkHealth(Arc::new(Mutex::new(Err("no orders came yet".to_owned()))))
    }
}

impl LinkHealth {
    /// Whether the orders that came last are obeyed.
    pub fn check(&self) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether this is news.
    fn set(&self, health: Result<(), String>) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *kept != health;
        *kept = health;
        is_new
    }
}

impl Link {
    /// Follows the gateways' orders until `stop`. All streams are opened anew when the fence wants fresh orders.
    pub async fn follow(self, stop: Stop) {
        loop {
            let hearing = Hearing { link: &self, since: self.clock.monotonic() };
            tokio::select! {
                () = self.gateways.listen(stop.clone(), &hearing) => return,
                () = self.fence.asks_for_orders(hearing.since) => {}
            }
        }
    }

    /// Keeps orders, then has them carried out.
    async fn obey(&self, set: AssignmentSet, since: Duration) -> Result<(), OrdersError> {
        let orders = Orders::parse(set)?;
        let mut turn = self.turn.clone().lock_owned().await;
        let known = self.engine.given().orders;
        let orders = orders.after(&known, Time(self.clock.now_ms()))?;
        if known.incarnation.counter > 0 && known.incarnation != orders.incarnation {
            let (before, now) = (&known.incarnation, &orders.incarnation);
            let left = orders.quarantine.len();
            tracing::warn!(%before, %now, left_running = left, "the cluster was recovered or restored");
        }
        // A new version of the same orders needs no new file.
        if known.units != orders.units || known.lead() != orders.lead() {
            let (folder, kept) = (self.folder.clone(), orders.clone());
            let keeping = tokio::task::spawn_blocking(move || (kept.keep(&folder), turn)).await;
            let (kept, same_turn) = keeping.expect("keeping orders does not panic");
            turn = same_turn;
            kept?;
        }
        tracing::debug!(
            epoch = orders.epoch,
            version = orders.version,
            units = orders.units.len(),
            "orders"
        );
        self.engine.give(orders, true);
        self.fence.ordered(since);
        drop(turn);
        Ok(())
    }
}

/// The streams opened since some time.
struct Hearing<'a> {
    link: &'a Link,
    since: Duration,
}

impl Listener for Hearing<'_> {
    type Item = AssignmentSet;

    async fn open(&self, channel: Channel) -> Result<Streaming<AssignmentSet>, Status> {
        let mut client = GatewayClient::new(channel).max_decoding_message_size(MAX_SET_BYTES);
        let request = AssignmentsRequest { node: self.link.node.clone() };
        Ok(client.assignments(request).await?.into_inner())
    }

    async fn hear(&self, set: AssignmentSet) -> Result<(), Refused> {
        let (epoch, version) = (set.epoch, set.version);
        match self.link.obey(set, self.since).await {
            Ok(()) => {
                if self.link.health.set(Ok(())) {
                    tracing::info!(epoch, version, "orders come from a controller");
                }
                Ok(())
            }
            // One that does not know yet that it leads no more.
            Err(stale @ OrdersError::Stale { .. }) => {
                tracing::warn!(error = %stale, "orders left out");
                Ok(())
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error).context("obey orders"));
                if self.link.health.set(Err(error.clone())) {
                    tracing::error!(error, "units run on by the last orders");
                }
                Err(Refused(error))
            }
        }
    }
}
