//! What makes a machine one of several: its address, whether it controls, and whom it knew when it came in.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A node of a cluster whose memory is an etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Several {
    /// The cluster's name; etcd members of another one are refused.
    pub cluster: String,
    /// The address at which the other nodes reach this one.
    pub address: IpAddr,
    /// Whether a controller, a builder and a member of etcd run here.
    pub control: bool,
    /// Whether the cluster began here: then its authorities are here.
    pub began_here: bool,
    /// The gateways of the controllers there were when this node came in; parts learn of others from these.
    pub gateways: Vec<String>,
    /// The members of etcd there were, itself included: `name=url,...`; empty without control.
    pub members: String,
}

/// Offsets of etcd's ports from the base port.
pub const CLIENT_OFFSET: u16 = 4;
pub const PEER_OFFSET: u16 = 5;

impl Several {
    /// The node a cluster begins on.
    pub fn first(cluster: &str, address: IpAddr, node: &str, base: u16) -> Several {
        Several {
            cluster: cluster.to_owned(),
            address,
            control: true,
            began_here: true,
            gateways: vec![SocketAddr::new(address, base).to_string()],
            members: format!("{node}={}", url(address, base + PEER_OFFSET)),
        }
    }

    /// Where other members of etcd reach the one here.
    pub fn peer_url(&self, base: u16) -> String {
        url(self.address, base + PEER_OFFSET)
    }

    /// Where the controller here reaches the member of etcd beside it.
    pub fn client_url(&self, base: u16) -> String {
        url(self.address, base + CLIENT_OFFSET)
    }
}

fn url(address: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(address, port))
}
