//! The router's side of the gateway: tables in, status out, and the last table on disk for the time without it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use model::route::RouteTable;
use proto::gateway::{RouterReport, RoutesRequest, gateway_client::GatewayClient};
use service::{Stop, durable};
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

use crate::{fleet::Fleet, numbers::Numbers, tls::Certificates};

/// How often the status is told when nothing changes.
const REPORT_EVERY: Duration = Duration::from_secs(1);
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(3);
/// The largest table: thousands of apps with certificates.
const MAX_TABLE_BYTES: usize = 64 * 1024 * 1024;
const TABLE_FILE: &str = "table.json";
const TABLE_VERSION: u32 = 1;

/// Applies tables and tells what came of it.
#[derive(Clone)]
pub struct Link {
    /// This node.
    pub node: String,
    /// The gateway.
    pub channel: Channel,
    /// Where routes go.
    pub fleet: Fleet,
    /// Where certificates go.
    pub certificates: Certificates,
    /// Counters.
    pub numbers: Numbers,
    /// Wakes the report when a unit that left has no request any more.
    pub emptied: Arc<Notify>,
    /// Wakes the report when a table was applied, and the keeper.
    pub applied: watch::Sender<Option<Arc<RouteTable>>>,
}

impl Link {
    /// Puts a table in force.
    pub fn apply(&self, table: RouteTable) {
        // Certificates first: a new name is served under its own from the first request on.
        self.certificates.apply(&table.certificates);
        self.fleet.apply(&table);
        self.numbers.table_version.set(i64::try_from(table.version).unwrap_or(i64::MAX));
        tracing::info!(version = table.version, apps = table.apps.len(), "route table applied");
        self.applied.send_replace(Some(Arc::new(table)));
    }

    /// Follows the gateway's tables until `stop`, through any number of lost connections.
    pub async fn follow(self, stop: Stop) {
        let (mut backoff, mut is_told) = (FIRST_BACKOFF, false);
        loop {
            let mut heard = false;
            let ended = tokio::select! {
                () = stop.wait() => return,
                ended = self.follow_once(&mut heard) => ended,
            };
            let error = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
            if heard {
                (backoff, is_told) = (FIRST_BACKOFF, false);
            }
            // Once per outage; it is tried again every few seconds.
            if !is_told {
                tracing::warn!(error, "no routes from the gateway; serving from the last table");
                is_told = true;
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn follow_once(&self, heard: &mut bool) -> anyhow::Result<()> {
        let mut client =
            GatewayClient::new(self.channel.clone()).max_decoding_message_size(MAX_TABLE_BYTES);
        let request = RoutesRequest { node: self.node.clone() };
        let mut tables = client.routes(request).await.context("ask for routes")?.into_inner();
        while let Some(table) = tables.message().await.context("read the next route table")? {
            let table: RouteTable =
                serde_json::from_str(&table.table_json).context("parse a route table")?;
            *heard = true;
            self.apply(table);
        }
        Ok(())
    }

    /// Tells the status: every second, and at once when it changed in a way somebody waits for.
    pub async fn report(self, stop: Stop) {
        let mut client = GatewayClient::new(self.channel.clone());
        let mut applied = self.applied.subscribe();
        loop {
            if let Err(error) = self.report_once(&mut client).await {
                tracing::debug!(error = format!("{error:#}"), "the status was not heard");
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(REPORT_EVERY) => {}
                () = self.emptied.notified() => {}
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

/// The table of the last run. A file that cannot be read is told and not used: the gateway will send another.
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
