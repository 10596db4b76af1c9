//! The edge: every request from outside comes in here and goes to a unit of the app that its host name belongs to.
//!
//! In come HTTP/1.1, HTTP/2 and websockets, over TLS or not, and route tables from the leading controller. Out go HTTP/1.1 requests to
//! units and, to every controller, the version in force with the requests still in flight to units that left. It never writes
//! anything but the last table, decides nothing about units, and serves on without controllers. Read `fleet.rs` first
//! (what is in force), then `proxy.rs` (a request), `proxy/exchange.rs` (retries) and `edge.rs` (connections).

mod answer;
mod balance;
mod body;
mod config;
mod connection;
mod edge;
mod fleet;
mod forward;
mod gateway;
mod handover;
mod host;
mod numbers;
mod pool;
mod proxy;
mod tls;
mod unit;

pub use config::{Config, Limits, Network, NetworkError, Place, Timeouts};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use link::Gateways;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::sign::CertifiedKey;
use service::{Admin, Clock, Identity, Stop, Tasks, durable};
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use edge::Edge;
use fleet::Fleet;
use gateway::Link;
use handover::{Giver, Taken};
use numbers::Numbers;
use proxy::Proxy;
use tls::Certificates;
use unit::Signals;

/// How long requests in flight may take after a stop; below the deadline of the program's tasks.
const DRAIN: Duration = Duration::from_secs(25);
/// How often idle connections, ejected units and the platform certificate are looked after.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Runs the router until `stop`.
pub async fn run(config: Config, stop: Stop) -> anyhow::Result<()> {
    Router::bind(config)?.run(stop).await
}

/// A router that listens but does not serve yet.
pub struct Router {
    config: Config,
    identity: Identity,
    http: TcpListener,
    https: TcpListener,
    admin: TcpListener,
    /// From the router that runs here, which serves until this one does.
    taken: Option<Taken>,
}

impl Router {
    /// Opens the listeners and reads the identity. Needs a running tokio.
    pub fn bind(config: Config) -> anyhow::Result<Router> {
        let place = &config.place;
        durable::create_private_dir(&place.folder)?;
        let identity = Identity::load(&place.identity).context("load the router's identity")?;
        let mut taken = handover::take(&place.folder);
        let mut listen = |name: &str, address: SocketAddr| {
            let given = taken.as_mut().and_then(|taken| taken.listener(address));
            let listener = given.unwrap_or_else(|| edge::listen(address));
            listener.with_context(|| format!("listen for {name} on {address}"))
        };
        let http = listen("HTTP", place.http)?;
        let https = listen("HTTPS", place.https)?;
        let admin = listen("the admin endpoint", place.admin)?;
        Ok(Router { config, identity, http, https, admin, taken })
    }

    /// The addresses of HTTP, HTTPS and the admin endpoint.
    pub fn addresses(&self) -> anyhow::Result<[SocketAddr; 3]> {
        Ok([self.http.local_addr()?, self.https.local_addr()?, self.admin.local_addr()?])
    }

    /// Serves until `stop`, then finishes what is in flight.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        raise_file_limit();
        let [http, https, admin_address] = self.addresses()?;
        tracing::info!(%http, %https, admin = %admin_address, "listening");
        let folder = &self.config.place.folder;
        let giver = Giver::new(folder, [&self.http, &self.https, &self.admin])
            .context("open the door for a later router")?;
        let Router { config, identity, .. } = self;
        let leave = stop.child();
        let (admin, clock) = (Admin::new("router"), Clock::system());
        let numbers = Numbers::new(admin.metrics());
        let signals =
            Signals { emptied: watch::Sender::default(), in_flight: numbers.in_flight.clone() };
        let place =
            fleet::Place { node: config.node.clone(), reserved: format!("deis.{}", config.domain) };
        let fleet = Fleet::new(clock.clone(), signals.clone(), place);
        let certificates = Certificates::new(platform_certificate(&config)?);
        let acceptor = TlsAcceptor::from(Arc::new(certificates.server_config()?));
        let tasks = Tasks::new(stop.clone());
        let linked = link::Config {
            identity,
            gateways: config.gateways.clone(),
            folder: config.place.folder.clone(),
        };
        let gateways = Gateways::start(linked, &tasks)?;
        let link = Link {
            node: config.node.clone(),
            gateways,
            fleet: fleet.clone(),
            certificates: certificates.clone(),
            numbers: numbers.clone(),
            emptied: signals.emptied.clone(),
            applied: watch::Sender::new(None),
            is_fresh: watch::Sender::new(false),
        };
        if let Some(table) = gateway::kept(&config.place.folder) {
            link.apply(table).context("serve from the kept route table")?;
        }
        let is_fresh = link.is_fresh.subscribe();
        let proxy = Arc::new(Proxy {
            fleet: fleet.clone(),
            timeouts: config.timeouts,
            trusted: config.trusted_proxies.clone(),
            numbers: numbers.clone(),
            clock: clock.clone(),
            tracker: TaskTracker::new(),
            stop: stop.clone(),
        });
        let tracker = proxy.tracker.clone();
        let edge = Edge::new(proxy, config.limits, leave.clone());
        admin.check("routes", {
            let fleet = fleet.clone();
            move || fleet.version().map(|_| ()).ok_or_else(|| "no route table yet".to_owned())
        });

        tasks.spawn("admin", admin.serve(self.admin, stop.clone()));
        tasks.spawn("keep", link.clone().keep(config.place.folder.clone(), leave.clone()));
        tasks.spawn("follow", link.clone().follow(stop.clone()));
        tasks.spawn("report", link.report(leave.clone()));
        let caretaker = Caretaker { fleet, numbers, clock, certificates, config };
        tasks.spawn("caretaker", caretaker.run(stop.clone()));
        for (name, listener, tls) in
            [("http", self.http, None), ("https", self.https, Some(acceptor))]
        {
            let (edge, is_fresh) = (edge.clone(), is_fresh.clone());
            tasks.spawn(name, async move {
                gateway::fresh(is_fresh).await;
                edge.serve(listener, tls).await;
            });
        }
        tasks.spawn("handover", giver.run(tracker.clone(), leave, stop.clone()));
        if let Some(taken) = self.taken {
            // Until then the earlier one answers.
            gateway::fresh(is_fresh).await;
            taken.ready().context("take over from the router that runs")?;
        }
        tasks.spawn("connections", async move {
            stop.wait().await;
            tracker.close();
            if tokio::time::timeout(DRAIN, tracker.wait()).await.is_err() {
                tracing::warn!(
                    connections = tracker.len(),
                    "closing connections that did not end in time"
                );
            }
        });
        Ok(tasks.finish().await?)
    }
}

/// Looks after what changes with time alone.
struct Caretaker {
    fleet: Fleet,
    numbers: Numbers,
    clock: Clock,
    certificates: Certificates,
    config: Config,
}

impl Caretaker {
    async fn run(self, stop: Stop) {
        let place = &self.config.place;
        let mut seen = tls::changed(&place.platform_cert, &place.platform_key);
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(LOOK_AFTER) => {}
            }
            self.sweep();
            let changed = tls::changed(&place.platform_cert, &place.platform_key);
            if changed.is_some() && changed != seen {
                self.reload_platform_certificate();
            }
            seen = changed;
        }
    }

    fn sweep(&self) {
        let now = self.clock.monotonic();
        let units = self.fleet.units();
        for unit in &units {
            unit.pool.sweep(now, self.config.timeouts.pool_idle);
        }
        let ejected = units.iter().filter(|unit| unit.is_ejected(now)).count();
        self.numbers.ejected.set(i64::try_from(ejected).unwrap_or(i64::MAX));
    }

    fn reload_platform_certificate(&self) {
        let place = &self.config.place;
        match tls::platform(&place.platform_cert, &place.platform_key) {
            Ok(certificate) => {
                self.certificates.set_platform(certificate);
                tracing::info!("platform certificate replaced");
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the new platform certificate cannot be used; the old one serves on"
                );
            }
        }
    }
}

/// The platform's certificate from its files, else one made for this run.
fn platform_certificate(config: &Config) -> anyhow::Result<CertifiedKey> {
    let place = &config.place;
    let error = match tls::platform(&place.platform_cert, &place.platform_key) {
        Ok(certificate) => return Ok(certificate),
        Err(error) => anyhow::Error::from(error),
    };
    tracing::warn!(
        error = format!("{error:#}"),
        domain = config.domain,
        "no platform certificate; using a self-signed one made for this run"
    );
    Ok(tls::self_signed(&config.domain)?)
}

/// Every request in flight needs two files; the usual soft limit is 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, ?limit, "the limit of open files stays low");
    }
}
