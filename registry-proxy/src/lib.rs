//! The node's image registry: the OCI distribution protocol on a loopback address, over a plain folder of blobs.
//!
//! In comes what Docker and the builder push; out goes what the node's Docker Engine pulls; the controller says through
//! gRPC which images stay. What is not here is fetched from the registries of the other nodes, and an image pushed here
//! counts when one of them has it, too. It knows no app and no release, and calls no part but those registries and the
//! gateway, for the members. An answer of 201 means that the content is verified and synced.
//!
//! Read `request.rs` first (what may be asked), then `answer.rs`, then `registry.rs`; then `second.rs` and `fetch.rs`.

mod name;
mod range;
mod refusal;
mod request;

mod answer;
mod body;
mod control;
mod serve;

mod fetch;
mod flights;
mod peers;
mod repair;
mod second;

mod blobs;
mod manifest;
mod registry;
mod repositories;
mod retain;
mod uploads;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use link::Gateways;
use service::{Admin, Clock, Identity, Settings, Size, Stop, Tasks, durable};
use tokio::{net::TcpListener, task::spawn_blocking, time::interval};
use tonic::transport::Server;

use crate::{
    answer::Answers, control::Control, fetch::Fetcher, peers::Peers, registry::Registry,
    repair::Repair, second::Second,
};

const PROGRAM: &str = "registry-proxy";
/// How often expired uploads are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_secs(60);

/// The registry's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where all programs keep their files.
    pub data_dir: PathBuf,
    /// The OCI address; always loopback, because it has no authentication.
    pub listen: SocketAddr,
    /// The gRPC address.
    pub control_listen: SocketAddr,
    /// The admin endpoint.
    pub admin_listen: SocketAddr,
    /// Where controllers' gateways listen.
    pub gateways: Vec<String>,
    /// Uploads are refused while the disk has less than this free.
    pub min_free: Size,
}

impl Config {
    /// Reads them.
    pub fn read(settings: &mut Settings) -> Config {
        let oci = settings.get(
            "cluster.registry",
            "127.0.0.1:5000",
            "Address of the image registry; loopback only, because it has no authentication.",
        );
        let listen = settings
            .optional("listen", "Address to listen on; `registry` of [cluster] when absent.");
        let control = settings.get(
            "cluster.registry_control",
            "127.0.0.1:7403",
            "Address of the registry's side for the other parts.",
        );
        let control_listen = settings.optional(
            "control_listen",
            "Address for the controller and other nodes' registries (mutual TLS); `registry_control` of [cluster] when absent.",
        );
        let config = Config {
            data_dir: settings.get(
                "cluster.data_dir",
                "/var/lib/trireme",
                "Folder of all programs' files.",
            ),
            listen: listen.unwrap_or(oci),
            control_listen: control_listen.unwrap_or(control),
            admin_listen: settings.get(
                "admin_listen",
                "127.0.0.1:7413",
                "Address for health, version and metrics.",
            ),
            gateways: link::gateways(settings),
            min_free: settings.get(
                "min_free",
                "1G",
                "Uploads are refused while the disk has less than this free.",
            ),
        };
        if !config.listen.ip().is_loopback() {
            settings.problem(format!(
                "`listen` is {}: the registry has no authentication and listens on loopback addresses only",
                config.listen
            ));
        }
        config
    }

    fn folder(&self) -> PathBuf {
        self.data_dir.join(PROGRAM)
    }
}

/// Runs the registry until `stop`.
pub async fn run(config: Config, stop: Stop) -> anyhow::Result<()> {
    let identity = Identity::load(&config.data_dir.join("identity").join(PROGRAM))
        .context("load the identity")?;
    let registry = spawn_blocking({
        let config = config.clone();
        move || open(&config)
    });
    let registry = registry.await.context("open the registry")??;

    let oci = listen("registry", config.listen).await?;
    let control = listen("control side", config.control_listen).await?;
    let admin_listener = listen("admin endpoint", config.admin_listen).await?;

    let admin = Admin::new(PROGRAM);
    watch_state(&admin, &registry);

    let tasks = Tasks::new(stop.clone());
    let gateways = Gateways::start(
        link::Config {
            identity: identity.clone(),
            gateways: config.gateways.clone(),
            folder: config.folder(),
        },
        &tasks,
    )?;
    let peers = Peers::new(identity.clone(), gateways.members());
    let fetcher = Fetcher::new(registry.clone(), peers.clone());
    let second = Second::new(registry.clone(), peers.clone());
    let (asked, repair) = Repair::new(registry.clone(), peers.clone(), second.clone());
    let answers = Answers::new(registry.clone(), fetcher.clone(), second, admin.metrics());
    let control_side = Control { registry: registry.clone(), peers, fetcher, repair: asked };

    tasks.spawn("registry", serve::serve(oci, answers, stop.clone()));
    tasks.spawn("control", {
        let stop = stop.clone();
        async move {
            Server::builder()
                .add_service(control_side.service())
                .serve_with_incoming_shutdown(identity.incoming(control), stop.wait())
                .await
        }
    });
    tasks.spawn("repair", repair.run(stop.clone()));
    tasks.spawn("expiry", expire(registry, stop.clone()));
    tasks.spawn("admin", admin.serve(admin_listener, stop.clone()));
    tasks.finish().await?;
    Ok(())
}

fn open(config: &Config) -> anyhow::Result<Arc<Registry>> {
    let folder = config.folder();
    durable::create_private_dir(&folder)?;
    let registry = Registry::open(&folder, config.min_free.0, Clock::system())
        .with_context(|| format!("open the registry in `{}`", folder.display()))?;
    Ok(Arc::new(registry))
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    tracing::info!(what, address = %listener.local_addr()?, "listening");
    Ok(listener)
}

fn watch_state(admin: &Admin, registry: &Arc<Registry>) {
    let floor = registry.floor.clone();
    admin.check("disk", move || floor.check().map_err(|refusal| refusal.message));
}

/// Forgets uploads that nobody continues.
async fn expire(registry: Arc<Registry>, stop: Stop) {
    let mut ticks = interval(EXPIRY_PERIOD);
    loop {
        tokio::select! {
            () = stop.wait() => return,
            _ = ticks.tick() => {}
        }
        let registry = registry.clone();
        let expired = spawn_blocking(move || registry.uploads.expire());
        if let Ok(count @ 1..) = expired.await {
            tracing::info!(count, "uploads expired");
        }
    }
}
