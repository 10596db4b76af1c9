//! The agent: runs this node's units through the Docker Engine, as the controller orders, and tells how they are.
//!
//! In come assignment sets from the leading controller and one-off commands; out go containers, reports to every controller,
//! and the containers' output to the logger. It decides nothing about what runs where, stops nothing but exclusive units (see
//! `fence.rs`) because controllers are silent, and after a restart obeys the last orders it kept. Read `plan.rs` first (what to do next), then
//! `memory.rs` (a unit's life), `engine.rs` (the task that runs both) and `docker.rs`.

mod config;
pub mod docker;
pub mod engine;
pub mod fence;
pub mod gateway;
pub mod health;
pub mod images;
pub mod logs;
mod machine;
pub mod memory;
pub mod orders;
pub mod plan;
pub mod report;
pub mod room;
pub mod runtime;
pub mod session;
pub mod sights;
pub mod volumes;

pub use config::Config;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Context;
use link::Gateways;
use proto::agent::agent_server::AgentServer;
use service::{Admin, Clock, Identity, Stop, Tasks, durable};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};
use tonic::transport::Server;

use docker::{Docker, spec::Place};
use engine::{Engine, Handle};
use fence::Fence;
use gateway::{Link, LinkHealth};
use images::Collector;
use logs::Shipper;
use orders::Orders;
use report::{Machine, Reporter};
use room::Room;
use session::Sessions;
use volumes::Volumes;

/// A silent caller is pinged after this long, so that a broken call ends its command.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Folder of log positions, in the agent's.
const CURSORS: &str = "cursors";
/// Folder of volumes, in the agent's.
const VOLUMES: &str = "volumes";

/// Runs the agent until `stop`. Units run on.
pub async fn run(config: Config, stop: Stop) -> anyhow::Result<()> {
    Agent::bind(config).await?.run(stop).await
}

/// An agent that listens but does nothing yet.
pub struct Agent {
    config: Config,
    identity: Identity,
    sessions: TcpListener,
    admin: TcpListener,
}

impl Agent {
    /// Opens the listeners and reads the identity.
    pub async fn bind(config: Config) -> anyhow::Result<Agent> {
        durable::create_private_dir(&config.folder)?;
        durable::create_private_dir(&config.folder.join(CURSORS))?;
        durable::create_private_dir(&config.folder.join(VOLUMES))?;
        let identity = Identity::load(&config.identity).context("load the agent's identity")?;
        let sessions = listen("one-off commands", config.listen).await?;
        let admin = listen("the admin endpoint", config.admin).await?;
        Ok(Agent { config, identity, sessions, admin })
    }

    /// The addresses for sessions and of the admin endpoint.
    pub fn addresses(&self) -> anyhow::Result<[SocketAddr; 2]> {
        Ok([self.sessions.local_addr()?, self.admin.local_addr()?])
    }

    /// Works until `stop`.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let [sessions_address, admin_address] = self.addresses()?;
        tracing::info!(sessions = %sessions_address, admin = %admin_address, "listening");
        let Agent { config, identity, .. } = self;
        let (admin, clock, kick) = (Admin::new("agent"), Clock::system(), Arc::new(Notify::new()));
        let tasks = Tasks::new(stop.clone());
        let room = Room::new(
            machine::capacity_bytes(config.reserve_memory).context("read the machine's memory")?,
        );
        let volumes = std::path::absolute(config.folder.join(VOLUMES));
        let volumes = Volumes::new(volumes.context("find the folder of volumes")?);
        let place = Place {
            node: config.node.to_string(),
            network: config.network.clone(),
            cpu_millis: machine::cpu_millis(),
            publish: config.publish,
            volumes: volumes.clone(),
        };
        let docker = Arc::new(Docker::new(config.docker_socket.clone(), place));
        let linked = link::Config {
            identity: identity.clone(),
            gateways: config.gateways.clone(),
            folder: config.folder.clone(),
        };
        let gateways = Gateways::start(linked, &tasks)?;
        let fence = Fence::new(clock.clone(), kick.clone());
        let lines = Shipper::new(
            logs::Parts {
                node: config.node.to_string(),
                folder: config.folder.join(CURSORS),
                docker: docker.clone(),
                logger: service::channel(&identity, &config.logger, "logger")?,
                tasks: tasks.clone(),
                kick: kick.clone(),
            },
            admin.metrics(),
        );
        let parts = engine::Parts {
            runtime: docker.clone(),
            lines: Arc::new(lines.clone()),
            room: room.clone(),
            clock: clock.clone(),
            fence: fence.clone(),
            kick,
        };
        let (engine, handle) = Engine::new(parts, tasks.clone());
        obey_kept_orders(&config, &handle)?;
        let link = Link {
            node: config.node.to_string(),
            gateways: gateways.clone(),
            folder: config.folder.clone(),
            engine: handle.clone(),
            fence: fence.clone(),
            clock: clock.clone(),
            health: LinkHealth::default(),
            turn: Arc::default(),
        };
        let (disk_free, seen) = (Arc::new(AtomicU64::new(0)), watch::Sender::default());
        let reporter = Reporter {
            machine: Machine {
                name: config.node.clone(),
                addresses: config.addresses.clone(),
                memory_bytes: room.capacity_bytes(),
                cpu_millis: machine::cpu_millis(),
            },
            gateways: gateways.clone(),
            told: handle.told(),
            room: room.clone(),
            disk_free: disk_free.clone(),
            sights: seen.subscribe(),
            fence,
            clock: clock.clone(),
        };
        let sessions = Sessions {
            docker: docker.clone(),
            volumes,
            lines,
            room,
            tasks: tasks.clone(),
            earlier: Arc::default(),
        };
        let images = Collector::new(docker.clone(), handle.clone(), clock, &config.registry);
        check_health(&admin, &handle, &link.health, &gateways);

        tasks.spawn("admin", admin.serve(self.admin, stop.clone()));
        tasks.spawn("engine", engine.run(stop.clone()));
        tasks.spawn("orders", link.follow(stop.clone()));
        tasks.spawn("report", reporter.run(stop.clone()));
        let members = gateways.members();
        tasks.spawn("sights", sights::look(config.node.clone(), members, seen, stop.clone()));
        tasks.spawn("disk", report::watch_disk(docker, config.folder, disk_free, stop.clone()));
        tasks.spawn("images", images.run(stop.clone()));
        tasks.spawn("leftovers", sessions.clone().clear_leftovers(stop.clone()));
        tasks.spawn("sessions", serve(self.sessions, identity, sessions, stop));
        Ok(tasks.finish().await?)
    }
}

async fn listen(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen for {name} on {address}"))
}

/// The orders of the last run hold until the controller gives others. Orders that cannot be read are an error: without
/// them the agent would not know which cluster it may obey.
fn obey_kept_orders(config: &Config, handle: &Handle) -> anyhow::Result<()> {
    if let Some(orders) = Orders::kept(&config.folder).context("read the orders of the last run")? {
        tracing::info!(version = orders.version, units = orders.units.len(), "obeying kept orders");
        handle.give(orders, false);
    }
    Ok(())
}

fn check_health(admin: &Admin, handle: &Handle, link: &LinkHealth, gateways: &Gateways) {
    let told = handle.told();
    admin.check("docker", move || {
        let told = told.borrow();
        match &told.trouble {
            Some(trouble) => Err(trouble.clone()),
            None if told.is_settled => Ok(()),
            None => Err("no look at the containers has ended yet".to_owned()),
        }
    });
    let (link, gateways) = (link.clone(), gateways.clone());
    admin.check("gateway", move || gateways.check().and_then(|()| link.check()));
}

async fn serve(
    listener: TcpListener,
    identity: Identity,
    sessions: Sessions,
    stop: Stop,
) -> anyhow::Result<()> {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(AgentServer::new(sessions))
        .serve_with_incoming_shutdown(identity.incoming(listener), stop.wait())
        .await
        .context("serve one-off commands")
}
