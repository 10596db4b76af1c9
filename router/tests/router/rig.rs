//! One router with its gateway, in a folder that goes with it.

use std::{net::SocketAddr, path::Path, time::Duration};

use model::incarnation::Incarnation;
use model::route::{AppRoute, Endpoint, RouteTable};
use router::{Config, Limits, Place, Router, Timeouts};
use service::{Authority, Identity, Stop, Subject};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};

use super::gateway::FakeGateway;

pub struct Rig {
    pub folder: TempDir,
    pub gateway: FakeGateway,
    /// Of a controller that does not lead: it sends nothing until it is given a table.
    pub second_gateway: FakeGateway,
    pub router: Running,
}

/// A router that serves. Dropping it stops it.
pub struct Running {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub admin: SocketAddr,
    pub stop: Stop,
    pub ended: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl Rig {
    pub async fn start() -> Rig {
        Rig::with(|_| {}).await
    }

    /// With settings changed before the start.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let identity = |role: &str| {
            let subject = Subject { role, node: "n1", dns: Vec::new(), ips: Vec::new() };
            let dir = folder.path().join("identity").join(role);
            authority.issue(&subject, 1).unwrap().write(&dir, authority.ca_pem()).unwrap();
            Identity::load(&dir).unwrap()
        };
        identity("router");
        let controller = identity("controller");
        let gateway = FakeGateway::start(&controller).await;
        let second_gateway = FakeGateway::start(&controller).await;
        let mut config = config(folder.path(), gateway.address);
        config.gateways.push(second_gateway.address.to_string());
        change(&mut config);
        let router = start(config);
        Rig { folder, gateway, second_gateway, router }
    }

    /// Sends a table and waits until the router says it serves from it.
    pub async fn apply(&self, table: RouteTable) {
        let version = table.version;
        self.gateway.tables.send_replace(Some(table));
        self.gateway.report(|report| report.version == version).await;
    }

    /// One app `shop` at `shop.apps.localhost` with these units.
    pub async fn serve(&self, units: &[SocketAddr]) {
        let version = self.gateway.tables.borrow().as_ref().map_or(1, |table| table.version + 1);
        self.apply(shop(version, units)).await;
    }
}

/// Starts a router that finds its identity in `config`'s folder.
pub fn start(config: Config) -> Running {
    let router = Router::bind(config).unwrap();
    let [http, https, admin] = router.addresses().unwrap();
    let stop = Stop::new();
    let ended = tokio::spawn(router.run(stop.clone()));
    Running { http, https, admin, stop, ended: Some(ended) }
}

pub fn config(folder: &Path, gateway: SocketAddr) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    let seconds = Duration::from_secs;
    Config {
        node: "n1".to_owned(),
        domain: "apps.localhost".to_owned(),
        gateways: vec![gateway.to_string()],
        place: Place {
            http: any,
            https: any,
            admin: any,
            folder: folder.join("router"),
            identity: folder.join("identity").join("router"),
            platform_cert: folder.join("router/platform/chain.pem"),
            platform_key: folder.join("router/platform/key.pem"),
        },
        timeouts: Timeouts {
            connect: seconds(5),
            first_byte: seconds(30),
            idle: seconds(30),
            tunnel_idle: seconds(30),
            client: seconds(30),
            pool_idle: seconds(3),
        },
        limits: Limits { head_bytes: 64 * 1024, connections: 1_000 },
        trusted_proxies: Vec::new(),
    }
}

/// A table with one app; unit ids follow the ports.
pub fn shop(version: u64, units: &[SocketAddr]) -> RouteTable {
    RouteTable {
        incarnation: Incarnation::default(),
        epoch: 0,
        version,
        apps: vec![app("shop", &["shop.apps.localhost"], units)],
        certificates: Vec::new(),
    }
}

pub fn app(name: &str, hosts: &[&str], units: &[SocketAddr]) -> AppRoute {
    AppRoute {
        app: name.parse().unwrap(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        maintenance: false,
        units: units
            .iter()
            .map(|address| Endpoint {
                node: None,
                published: None,
                unit: unit_id(*address).parse().unwrap(),
                address: address.to_string(),
            })
            .collect(),
    }
}

pub fn unit_id(address: SocketAddr) -> String {
    format!("unit-{}", address.port())
}

/// Polls until there is a value.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut value: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {within:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An address where nobody listens.
pub fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
