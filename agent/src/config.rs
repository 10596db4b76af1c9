//! The agent's settings, each with its default.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use model::{name::NodeName, node::Addresses};
use service::{Settings, Size};

/// Everything the agent can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node: NodeName,
    /// Where controllers' gateways listen.
    pub gateways: Vec<String>,
    /// Where the node's logger listens.
    pub logger: String,
    /// Where other nodes reach this node's parts.
    pub addresses: Addresses,
    /// Where this agent listens for sessions.
    pub listen: SocketAddr,
    /// Health, version, metrics.
    pub admin: SocketAddr,
    /// Where images come from: `host:port`, as it stands in their names.
    pub registry: String,
    /// Own files.
    pub folder: PathBuf,
    /// The identity's folder.
    pub identity: PathBuf,
    /// The Docker Engine's socket.
    pub docker_socket: PathBuf,
    /// The network units are put in.
    pub network: String,
    /// This node's address at which others reach its units; none where there are no others.
    pub publish: Option<IpAddr>,
    /// Memory kept from units; none: 10 %, at least 512 MiB.
    pub reserve_memory: Option<Size>,
}

impl Config {
    /// Reads all settings.
    pub fn read(settings: &mut Settings) -> Config {
        let node = settings.required("cluster.node", "node-1", "This node's name.");
        let data: PathBuf =
            settings.get("cluster.data_dir", "/var/lib/trireme", "Folder of all programs' files.");
        Config {
            node,
            gateways: link::gateways(settings),
            logger: settings.get("cluster.logger", "127.0.0.1:7402", "Address of this node's logger."),
            addresses: Addresses {
                agent: settings.get("cluster.agent", "127.0.0.1:7401", "Address at which the controllers reach this node's agent."),
                logger: settings.get("cluster.logger", "127.0.0.1:7402", "Address of this node's logger."),
                registry: settings.get("cluster.registry_control", "127.0.0.1:7403", "Address of this node's registry, for the other parts."),
                gateway: settings.optional("cluster.own_gateway", "Address at which other nodes reach this node's controller; none on a node without one."),
            },
            listen: settings.get("listen", "127.0.0.1:7401", "Address for one-off commands from the controller."),
            admin: settings.get("admin_listen", "127.0.0.1:7411", "Address for health, version and metrics."),
            registry: settings.get("cluster.registry", "127.0.0.1:5000", "Address of the image registry."),
            folder: data.join("agent"),
            identity: data.join("identity").join("agent"),
            docker_socket: settings.get("docker_socket", "/var/run/docker.sock", "Socket of the Docker Engine."),
            network: settings.get("network", "trireme", "Docker network that units are put in; made when missing."),
            publish: settings.optional("publish", "IP address of this node at which routers of other nodes reach its units; none on a single machine. Give one that only the cluster's nodes reach."),
            reserve_memory: settings.optional("reserve_memory", "Memory kept from units, for the system and the platform; without it 10 % of the machine's, at least 512M."),
        }
    }
}
