//! Where orders come from: the controller's stream, for ever reconnected.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use proto::gateway::{AssignmentSet, AssignmentsRequest, gateway_client::GatewayClient};
use service::Stop;
use tonic::transport::Channel;

use crate::{
    engine::Handle,
    orders::{Orders, OrdersError},
};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(3);
/// The largest set: a thousand units with large environments.
const MAX_SET_BYTES: usize = 128 * 1024 * 1024;

/// Takes orders from the gateway, keeps them, and gives them to the engine.
#[derive(Clone)]
pub struct Link {
    /// This node.
    pub node: String,
    /// The gateway.
    pub channel: Channel,
    /// Where orders are kept.
    pub folder: PathBuf,
    /// Where orders go.
    pub engine: Handle,
    /// How the link is.
    pub health: LinkHealth,
}

/// Whether orders come; shown by the admin endpoint.
#[derive(Debug, Clone)]
pub struct LinkHealth(Arc<Mutex<Result<(), String>>>);

impl Default for LinkHealth {
    fn default() -> LinkHealth {
        LinkHealth(Arc::new(Mutex::new(Err("no orders came yet".to_owned()))))
    }
}

impl LinkHealth {
    /// Whether a stream is open and its orders are obeyed.
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
    /// Follows the gateway's orders until `stop`, through any number of lost connections.
    pub async fn follow(self, stop: Stop) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let mut was_obeyed = false;
            let ended = tokio::select! {
                () = stop.wait() => return,
                ended = self.follow_once(&mut was_obeyed) => ended,
            };
            let error = match ended {
                Ok(()) => "the gateway closed the stream".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            if self.health.set(Err(error.clone())) {
                tracing::warn!(error, "no orders come; units run on by the last ones");
            }
            if was_obeyed {
                backoff = FIRST_BACKOFF;
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn follow_once(&self, was_obeyed: &mut bool) -> anyhow::Result<()> {
        let mut client =
            GatewayClient::new(self.channel.clone()).max_decoding_message_size(MAX_SET_BYTES);
        let request = AssignmentsRequest { node: self.node.clone() };
        let mut sets = client.assignments(request).await.context("ask for orders")?.into_inner();
        let mut on_stream = None;
        while let Some(set) = sets.message().await.context("read the next orders")? {
            match self.obey(set, on_stream).await {
                Ok(version) => {
                    on_stream = Some(version);
                    *was_obeyed = true;
                    if self.health.set(Ok(())) {
                        tracing::info!(version, "orders come from the controller");
                    }
                }
                Err(stale @ OrdersError::Stale { .. }) => {
                    tracing::warn!(error = %stale, "orders left out");
                }
                Err(error) => return Err(anyhow::Error::from(error).context("obey orders")),
            }
        }
        Ok(())
    }

    /// Keeps orders, then has them carried out. Returns their version.
    async fn obey(&self, set: AssignmentSet, on_stream: Option<u64>) -> Result<u64, OrdersError> {
        let orders = Orders::parse(set)?;
        let known = self.engine.given().orders;
        let is_first = known.incarnation.is_empty();
        orders.check((!is_first).then_some(&*known), on_stream)?;
        // A new version of the same orders needs no new file.
        if is_first || known.units != orders.units {
            let (folder, kept) = (self.folder.clone(), orders.clone());
            tokio::task::spawn_blocking(move || kept.keep(&folder))
                .await
                .expect("keeping orders does not panic")?;
        }
        let version = orders.version;
        tracing::debug!(version, units = orders.units.len(), "orders");
        self.engine.give(orders, true);
        Ok(version)
    }
}
