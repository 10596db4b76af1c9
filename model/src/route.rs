//! The route table: which host names lead to which units. A pure, versioned document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::incarnation::Incarnation;
use crate::name::{AppName, Hostname, NodeName, UnitId};
use crate::time::Time;

/// A host name bound to an app by its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// The name.
    pub host: Hostname,
    /// Whose it is. One name belongs to one app.
    pub app: AppName,
    /// When it was bound.
    pub created: Time,
}

/// A certificate with its key, given by an owner. The key is sealed at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Name given by the owner, unique in the cluster.
    pub name: String,
    /// Whose it is.
    pub app: AppName,
    /// Host names it is valid for.
    pub hosts: Vec<Hostname>,
    /// Chain, leaf first, PEM.
    pub chain_pem: String,
    /// Private key, sealed.
    pub key: crate::release::Sealed,
    /// When it ends.
    pub not_after: Time,
    /// When it was added.
    pub created: Time,
}

impl Certificate {
    /// Whether one of its names is good for a host.
    pub fn covers(&self, host: &Hostname) -> bool {
        self.hosts.iter().any(|name| name.covers(host))
    }
}

/// What every router serves from. Contains private keys: kept in memory and in 0600 files only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// The life of the store it was made from.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// The lead of the controller that made it; tables of an earlier lead are never applied after those of a later one.
    #[serde(default)]
    pub epoch: u64,
    /// Grows with every change; routers acknowledge it.
    pub version: u64,
    /// One row per app that is reachable.
    pub apps: Vec<AppRoute>,
    /// Certificates by the host names they serve.
    pub certificates: Vec<RouteCertificate>,
}

/// One app's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRoute {
    /// The app.
    pub app: AppName,
    /// Names it answers to: `<app>.<platform domain>` and its own domains.
    pub hosts: Vec<Hostname>,
    /// Answer with the maintenance page.
    pub maintenance: bool,
    /// Units that are ready, in a stable order. Empty: 503.
    pub units: Vec<Endpoint>,
}

/// A unit that may receive requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which unit.
    pub unit: UnitId,
    /// `host:port`, reached from its own node.
    pub address: String,
    /// Its node; none in a table of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Its node and `host:port` there, for routers of other nodes; none where it was started on a machine alone: only its
    /// own node reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
}

/// Where other nodes reach a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The unit's node.
    pub node: NodeName,
    /// `host:port`.
    pub address: String,
}

/// A certificate as the router needs it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteCertificate {
    /// Names it serves.
    pub hosts: Vec<Hostname>,
    /// Chain, PEM.
    pub chain_pem: String,
    /// Key, PEM, in clear.
    pub key_pem: String,
}

/// What a router last said of itself. Never stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// The lead that table is from.
    #[serde(default)]
    pub epoch: u64,
    /// The table version it serves from.
    pub version: u64,
    /// Requests still in flight to units that have left its table.
    pub draining: BTreeMap<UnitId, u32>,
    /// When it was last heard.
    pub heard: Time,
}

/// A router not heard for this long is not waited for.
pub const ROUTER_LOST_AFTER_MS: u64 = 5_000;
