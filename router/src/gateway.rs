//! The router's side of the gateways: the leader's tables in, status out to all, and the last table on disk for the time without them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use link::{Gateways, Listener, Refused};
use model::incarnation::{Heard, Refusal};
use model::route::RouteTable;
use proto::gateway::{self as wire, RouterReport, RoutesRequest, gateway_client::GatewayClient};
use service::{Stop, durable};
use tokio::sync::watch;
use tonic::{Status, Streaming, transport::Channel};

use crate::{fleet::Fleet, numbers::Numbers, tls::Certificates};

/// How often the status is told when nothing changes.
const REPORT_EVERY: Duration = Duration::from_secs(1);
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a router that was just started waits for a table before it serves from the last one on its disk: units of a
/// table that is old may be gone, and new ones missing.
const FRESH_WITHIN: Duration = Duration::from_secs(2);
/// The largest table: thousands of apps with certificates.
const MAX_TABLE_BYTES: usize = 64 * 1024 * 1024;
const TABLE_FILE: &str = "table.json";
const TABLE_VERSION: u32 = 1;

/// Applies tables and tells what came of it.
#[derive(Clone)]
pub struct Link {
    /// This node.
    pub node: String,
    /// The gateways.
    pub gateways: Gateways,
    /// Where routes go.
    pub fleet: Fleet,
    /// Where certificates go.
    pub certificates: Certificates,
    /// Counters.
    pub numbers: Numbers,
    /// Wakes the reports when a unit that left has no request any more.
    pub emptied: watch::Sender<()>,
    /// Wakes the reports when a table was applied, and the keeper.
    pub applied: watch::Sender<Option<Arc<RouteTable>>>,
    /// Whether a gateway has told a table in this run.
    pub is_fresh: watch::Sender<bool>,
}

impl Link {
    /// Puts a table in force, unless the one in force is newer: of a later lead, or a later one of the same. Each life of the
    /// store gives its own leads. Refused: it is of an earlier life, or of another cluster's.
    pub fn apply(&self, table: RouteTable) -> Result<(), Refusal> {
        let in_force = self.applied.borrow().clone();
        let heard = in_force.as_ref().map(|known| known.incarnation.hear(&table.incarnation));
        if let (Some(known), Some(Heard::Same)) = (in_force, heard.transpose()?) {
            let (known, offered) = ((known.epoch, known.version), (table.epoch, table.version));
            if offered == known {
                return Ok(());
            }
            if offered < known {
                tracing::warn!(in_force = ?known, ?offered, "an older route table is left out");
                return Ok(());
            }
        }
        // Certificates first: a new name is served under its own from the first request on.
        self.certificates.apply(&table.certificates);
        self.fleet.apply(&table);
        self.numbers.table_version.set(i64::try_from(table.version).unwrap_or(i64::MAX));
        tracing::info!(
            epoch = table.epoch,
            version = table.version,
            apps = table.apps.len(),
            "route table applied"
        );
        self.applied.send_replace(Some(Arc::new(table)));
        Ok(())
    }

    /// Follows the gateways' tables until `stop`.
    pub async fn follow(self, stop: Stop) {
        let gateways = self.gateways.clone();
        gateways.listen(stop, &self).await;
    }

    /// Tells every controller the status: each second, and at once when it changed in a way somebody waits for.
    pub async fn report(self, stop: Stop) {
        self.gateways.with_each(stop, |(address, channel)| self.report_to(address, channel)).await;
    }

    async fn report_to(&self, address: String, channel: Channel) {
        let mut client = GatewayClient::new(channel);
        let (mut applied, mut emptied) = (self.applied.subscribe(), self.emptied.subscribe());
        loop {
            applied.mark_unchanged();
            emptied.mark_unchanged();
            if let Err(error) = self.report_once(&mut client).await {
                tracing::debug!(%address, error = format!("{error:#}"), "the status was not heard");
            }
            tokio::select! {
                () = tokio::time::sleep(REPORT_EVERY) => {}
                Ok(()) = emptied.changed() => {}
                Ok(()) = applied.changed() => {}
            }
        }
    }

    async fn report_once(&self, client: &mut GatewayClient<Channel>) -> anyhow::Result<()> {
        let Some(status) = self.fleet.status() else { return Ok(()) };
        let status_json = serde_json::to_string(&status).context("write the status as JSON")?;
        let report = RouterReport { node: self.node.clone(), status_json };
        let told = tokio::time::timeout(REPORT_TIMEOUT, client.report_router(report)).await;
        told.context("tell the status in time")?.context("tell the status")?;
        Ok(())
    }

    /// Keeps the last applied table on disk.
    pub async fn keep(self, folder: PathBuf, stop: Stop) {
        let mut applied = self.applied.subscribe();
        loop {
            tokio::select! {
                () = stop.wait() => return,
                changed = applied.changed() => if changed.is_err() { return },
            }
            let Some(table) = applied.borrow_and_update().clone() else { continue };
            let path = table_path(&folder);
            let written = tokio::task::spawn_blocking(move || {
                durable::write_json(&path, TABLE_VERSION, &*table, durable::PRIVATE)
            });
            match written.await {
                Ok(Ok(())) => {}
                // It serves on; only a restart without the gateway would miss this table.
                Ok(Err(error)) => {
                    let error = anyhow::Error::from(error);
                    tracing::error!(error = format!("{error:#}"), "the route table was not kept");
                }
                Err(error) => tracing::error!(%error, "the route table was not kept"),
            }
        }
    }
}

impl Listener for Link {
    type Item = wire::RouteTable;

    async fn open(&self, channel: Channel) -> Result<Streaming<wire::RouteTable>, Status> {
        let mut client = GatewayClient::new(channel).max_decoding_message_size(MAX_TABLE_BYTES);
        Ok(client.routes(RoutesRequest { node: self.node.clone() }).await?.into_inner())
    }

    async fn hear(&self, table: wire::RouteTable) -> Result<(), Refused> {
        let applied = match serde_json::from_str(&table.table_json) {
            Ok(table) => self.apply(table).map_err(anyhow::Error::from),
            Err(error) => Err(anyhow::Error::from(error).context("read a route table")),
        };
        applied.map_err(|error| {
            let error = format!("{error:#}");
            tracing::error!(error, "a route table is refused; the last one stays in force");
            Refused(error)
        })?;
        self.is_fresh.send_replace(true);
        Ok(())
    }
}

/// Returns when a gateway has told a table, or none did for a while.
pub async fn fresh(mut is_fresh: watch::Receiver<bool>) {
    // When nobody tells one, the kept table is the best there is.
    let _ = tokio::time::timeout(FRESH_WITHIN, is_fresh.wait_for(|is_fresh| *is_fresh)).await;
}

/// The table of the last run. A file that cannot be read is told and not used: a gateway will send another.
pub fn kept(folder: &Path) -> Option<RouteTable> {
    match durable::read_json(&table_path(folder), TABLE_VERSION) {
        Ok(table) => table,
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!(error = format!("{error:#}"), "the kept route table is not usable");
            None
        }
    }
}

fn table_path(folder: &Path) -> PathBuf {
    folder.join(TABLE_FILE)
}
