//! The node's log store: takes lines from agents, builders and the controller, keeps them per app, and lets the controller read and follow them.
//!
//! In come batches over gRPC; an answer means that they are on the disk, and on another node's as long as one takes them.
//! Out go lines, oldest first. It knows no unit and no release, calls nobody but the other nodes' loggers and the gateway,
//! for the members, and never makes a sender wait for a reader. Read `scribe.rs` first (how lines are written), then
//! `segments.rs` (how they lie on the disk), then `reader.rs` and `shipping.rs`.

mod grpc;
mod intake;
mod shipping;

mod app_log;
mod recent;
mod scribe;

mod filter;
mod frame;
mod reader;
mod record;
mod segments;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use link::Gateways;
use service::{Admin, Clock, Identity, Settings, Size, Stop, Tasks, durable};
use tokio::{net::TcpListener, task::spawn_blocking};
use tonic::transport::Server;

use crate::{grpc::Service, scribe::Limits, shipping::Shipping};

const PROGRAM: &str = "logger";

/// The logger's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where all programs keep their files.
    pub data_dir: PathBuf,
    /// The gRPC address.
    pub listen: SocketAddr,
    /// The admin endpoint.
    pub admin_listen: SocketAddr,
    /// Where controllers' gateways listen.
    pub gateways: Vec<String>,
    /// What the lines of one app may take.
    pub max_app_bytes: Size,
    /// Lines are refused while the disk has less than this free.
    pub min_free: Size,
}

impl Config {
    /// Reads them.
    pub fn read(settings: &mut Settings) -> Config {
        let everyones = settings.get("cluster.logger", "127.0.0.1:7402", "Address of the logger.");
        let listen = settings.optional(
            "listen",
            "Address for lines in and out (mutual TLS); `logger` of [cluster] when absent.",
        );
        Config {
            data_dir: settings.get(
                "cluster.data_dir",
                "/var/lib/trireme",
                "Folder of all programs' files.",
            ),
            listen: listen.unwrap_or(everyones),
            admin_listen: settings.get(
                "admin_listen",
                "127.0.0.1:7415",
                "Address for health, version and metrics.",
            ),
            gateways: link::gateways(settings),
            max_app_bytes: settings.get(
                "max_app_bytes",
                "64M",
                "What the lines of one app may take on the disk; the oldest go first.",
            ),
            min_free: settings.get(
                "min_free",
                "512M",
                "Lines are refused while the disk has less than this free.",
            ),
        }
    }

    fn folder(&self) -> PathBuf {
        self.data_dir.join(PROGRAM)
    }

    fn limits(&self) -> Limits {
        Limits {
            folder: self.folder().join("apps"),
            copies: self.folder().join("copies"),
            max_app_bytes: self.max_app_bytes.0,
            min_free: self.min_free.0,
        }
    }
}

/// Runs the logger until `stop`.
pub async fn run(config: Config, stop: Stop) -> anyhow::Result<()> {
    let identity = Identity::load(&config.data_dir.join("identity").join(PROGRAM))
        .context("load the identity")?;
    let limits = config.limits();
    durable::create_private_dir(&limits.folder)?;
    durable::create_private_dir(&limits.copies)?;
    let lines = listen("lines", config.listen).await?;
    let admin_listener = listen("admin endpoint", config.admin_listen).await?;

    let admin = Admin::new(PROGRAM);
    watch_disk(&admin, limits.clone());
    let (scribe, desk) = scribe::scribe(limits.clone(), Clock::system(), admin.metrics());

    let tasks = Tasks::new(stop.clone());
    // It ends when the last handle on it goes, which the server holds: whatever was taken is written.
    tasks.spawn("scribe", async { spawn_blocking(|| desk.run()).await });
    let gateways = Gateways::start(
        link::Config {
            identity: identity.clone(),
            gateways: config.gateways.clone(),
            folder: config.folder(),
        },
        &tasks,
    )?;
    let (members, clock) = (gateways.members(), Clock::system());
    let shipping = Shipping::new(identity.clone(), members, clock, admin.metrics());
    let service = Service::server((scribe, limits), shipping, admin.metrics(), stop.clone());
    tasks.spawn("lines", {
        let stop = stop.clone();
        async move {
            Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(identity.incoming(lines), stop.wait())
                .await
        }
    });
    tasks.spawn("admin", admin.serve(admin_listener, stop.clone()));
    tasks.finish().await?;
    Ok(())
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    tracing::info!(what, address = %listener.local_addr()?, "listening");
    Ok(listener)
}

fn watch_disk(admin: &Admin, limits: Limits) {
    admin.check("disk", move || match durable::free_bytes(&limits.folder) {
        Ok(free) if free >= limits.min_free => Ok(()),
        Ok(_) => Err("the disk is nearly full; lines are refused".to_owned()),
        Err(error) => Err(format!("the disk cannot be asked: {error}")),
    });
}
