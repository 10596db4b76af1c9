//! Routers: tables out, versions in.

use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use model::incarnation::Incarnation;
use model::name::NodeName;
use model::route::{RouteCertificate, RouteTable, RouterStatus};
use model::time::Time;
use proto::gateway as wire;
use service::{Clock, Wake};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use super::malformed;
use crate::heard::Heard;
use crate::plan::routes::{Routes, SealedCertificate};
use crate::records::Document;
use crate::seal::Seal;

/// The latest table, as it is sent. Cheap to clone.
#[derive(Clone)]
pub struct Tables {
    seal: Arc<Seal>,
    incarnation: Incarnation,
    /// None until the first is known: an empty one would take all apps off.
    latest: watch::Sender<Option<Arc<str>>>,
}

impl Tables {
    /// None yet.
    pub fn new(seal: Arc<Seal>, incarnation: Incarnation) -> Tables {
        Tables { seal, incarnation, latest: watch::Sender::new(None) }
    }

    /// The tables of a lead that has ended are nobody's orders.
    pub fn withdraw(&self) {
        self.latest.send_if_modified(|latest| latest.take().is_some());
    }

    /// Sends a table to all routers. A certificate whose key does not open is left out and told.
    pub fn publish(&self, epoch: u64, version: u64, routes: &Routes) {
        let certificates = routes.certificates.iter().filter_map(|sealed| self.open(sealed));
        let (apps, certificates) = (routes.apps.clone(), certificates.collect());
        let incarnation = self.incarnation.clone();
        let table = RouteTable { incarnation, epoch, version, apps, certificates };
        let json = serde_json::to_string(&table).expect("a table holds text and numbers only");
        tracing::debug!(version, apps = table.apps.len(), "new route table");
        self.latest.send_replace(Some(json.into()));
    }

    fn open(&self, sealed: &SealedCertificate) -> Option<RouteCertificate> {
        let place = format!("{}{}", model::route::Certificate::PREFIX, sealed.name);
        match self.seal.open_text(&place, &sealed.key) {
            Ok(key_pem) => Some(RouteCertificate {
                hosts: sealed.hosts.clone(),
                chain_pem: sealed.chain_pem.clone(),
                key_pem,
            }),
            Err(error) => {
                tracing::error!(app = %sealed.app, %error, "a certificate is not served");
                None
            }
        }
    }
}

/// What routers call.
pub struct Routers {
    /// Where tables come from.
    pub tables: Tables,
    /// Where reports go.
    pub heard: Heard,
    /// Told of news.
    pub wake: Wake,
    /// The time.
    pub clock: Clock,
}

impl Routers {
    /// The table, and each one after it.
    pub fn tables(&self) -> impl Stream<Item = Result<wire::RouteTable, Status>> + Send + use<> {
        let tables = WatchStream::new(self.tables.latest.subscribe());
        tables.filter_map(async |table| {
            table.map(|json| Ok(wire::RouteTable { table_json: json.to_string() }))
        })
    }

    /// Takes a report.
    pub fn report(&self, report: &wire::RouterReport) -> Result<(), Status> {
        let node: NodeName = report.node.parse().map_err(|error| malformed("node", error))?;
        let status: RouterStatus = serde_json::from_str(&report.status_json)
            .map_err(|error| malformed("status", error))?;
        let status = RouterStatus { heard: Time(self.clock.now_ms()), ..status };
        if self.heard.router(node, status) {
            self.wake.kick();
        }
        Ok(())
    }
}
