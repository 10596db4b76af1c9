//! The controller: the public API, the gateway for all other parts, and the planning leader.
//!
//! In come HTTP requests of people (`api`), calls of the other parts (`gateway`), and what both
//! left in the store; out go documents in the store, assignments for agents and route tables for
//! routers. It never talks to Docker and never serves an app's traffic. Read `records` (what is
//! stored), then `observe`, `plan` and `apply` (how the world follows), `mind` (what runs them), then `api`.

pub mod accounts;
pub mod admission;
pub mod api;
pub mod apply;
pub mod change;
pub mod config;
pub mod doubt;
pub mod election;
pub mod environment;
pub mod events;
pub mod follow;
pub mod founding;
pub mod gateway;
pub mod heard;
pub mod history;
pub mod https;
pub mod incarnation;
pub mod leader;
pub mod logs;
pub mod membership;
pub mod mind;
pub mod observe;
pub mod outside;
pub mod plan;
pub mod planner;
pub mod platform;
pub mod progress;
pub mod reach;
pub mod records;
pub mod retention;
pub mod seal;
pub mod view;
pub mod volumes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::incarnation::Incarnation;
use model::node::{Addresses, Member};
use service::{Admin, Clock, Fresh, Gauge, Identity, Stop, Tasks, Wake, durable};
use store::{EmbeddedStore, EtcdMembers, EtcdOptions, EtcdStore, EtcdTls, Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use crate::config::Config;
use crate::config::{EtcdConfig, EtcdFiles, StoreConfig};
use crate::election::Rivals;
use crate::gateway::Gateway;
use crate::gateway::builds::Builds;
use crate::incarnation::Life;
use crate::logs::Logs;
use crate::mind::{Mind, RandomIds};
use crate::observe::Observer;
use crate::outside::Others;
use crate::plan::Rules;
use crate::platform::Platform;
use crate::reach::Reach;
use crate::records::{Document, Records};
use crate::seal::Seal;
use crate::view::ViewReceiver;

/// How often it is looked whether our certificate for etcd was renewed.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(5);
/// How long to wait before etcd is tried again.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// What handlers of the API and the gateway share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Stored documents.
    pub records: Records,
    /// The sealing key.
    pub seal: Arc<Seal>,
    /// The latest view.
    pub view: ViewReceiver,
    /// Wakes the planners after a write.
    pub wake: Wake,
    /// The time.
    pub clock: Clock,
    /// This controller's own certificate, for calls to agents, loggers and registries.
    pub identity: Identity,
    /// Names, doors and defaults of this platform.
    pub platform: Arc<Platform>,
    /// The app's logs: read, said to, forgotten.
    pub logs: Logs,
    /// The members of the store, where it is etcd.
    pub members: Option<EtcdMembers>,
}

/// Runs the controller until `stop`.
pub async fn run(config: Config, stop: Stop) -> anyhow::Result<()> {
    let bound = tokio::select! {
        bound = Controller::bind(config) => bound?,
        // The store may not answer for long; nothing was begun.
        () = stop.wait() => return Ok(()),
    };
    bound.run(stop).await
}

/// A controller that listens and has read its store, but does not serve yet.
pub struct Controller {
    config: Config,
    identity: Identity,
    seal: Arc<Seal>,
    records: Records,
    members: Option<EtcdMembers>,
    incarnation: Incarnation,
    api: TcpListener,
    gateway: TcpListener,
    admin: TcpListener,
}

impl Controller {
    /// Reads keys and certificates, opens the listeners and the store.
    pub async fn bind(config: Config) -> anyhow::Result<Controller> {
        let (files, listen) = (&config.files, &config.listen);
        durable::create_private_dir(&files.folder)?;
        let identity = Identity::load(&files.identity).context("load the controller's identity")?;
        let seal = Arc::new(Seal::load(&files.seal_key())?);
        let bind = async |name: &str, address| {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("listen for {name} on {address}"))
        };
        let gateway = bind("other parts", listen.gateway).await?;
        let (api, admin) =
            (bind("the API", listen.api).await?, bind("the admin endpoint", listen.admin).await?);
        founding::refuse_moved(&config.store)?;
        let (store, members) = open_store(&config.store).await.context("open the store")?;
        let records = Records::new(store);
        founding::found(&records, files, &config.store).await?;
        // A node that starts without a quorum serves what is remembered.
        if let Err(error) = records.store().get(Life::PREFIX).await {
            records.doubt().set(error.is_retryable());
        }
        let incarnation = incarnation::of(&records).await?;
        incarnation::obey(&files.folder, &incarnation)?;
        if members.is_some() {
            admission::share_authorities(&records, &seal, &config.files.data).await?;
        }
        Ok(Controller {
            config,
            identity,
            seal,
            records,
            members,
            incarnation,
            api,
            gateway,
            admin,
        })
    }

    /// The addresses of the API, the gateway and the admin endpoint.
    pub fn addresses(&self) -> anyhow::Result<[std::net::SocketAddr; 3]> {
        let gateway = self.gateway.local_addr()?;
        Ok([self.api.local_addr()?, gateway, self.admin.local_addr()?])
    }

    /// The stored documents, for tests and simulation.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let [api, gateway, admin_address] = self.addresses()?;
        tracing::info!(%api, %gateway, admin = %admin_address, "listening");
        let Controller { config, identity, seal, records, members, .. } = self;
        let (clock, tasks, wake) = (Clock::steady(), Tasks::new(stop.clone()), Wake::new());
        let api_tls = https::server_config(&config.files.api)?;

        let rivals = match &config.store {
            StoreConfig::Embedded(_) => Rivals::None,
            StoreConfig::Etcd(_) => Rivals::Possible,
        };
        let (observer, view) = mind::read(&records).await?;
        let own = own(&config)?;
        let (node, reach) = (own.name.clone(), Reach::new(identity.clone(), own));
        let logs = Logs::start(reach.clone(), view.subscribe(), clock.clone(), &tasks)?;
        let (records_too, logs_too) = (records.clone(), logs.clone());
        let outside = Others::new(records_too, logs_too, reach, clock.clone(), tasks.clone());
        let mind = Mind::start(mind::Parts {
            node,
            records: records.clone(),
            observer,
            view,
            incarnation: self.incarnation.clone(),
            rivals,
            seal: seal.clone(),
            rules: Rules { default_memory_bytes: config.platform.default_memory_bytes },
            domain: config.platform.domain.clone(),
            clock: clock.clone(),
            ids: Box::new(RandomIds),
            outside: Arc::new(outside),
            wake: wake.clone(),
            tasks: tasks.clone(),
        });
        let context = Context {
            records,
            seal,
            view: mind.view,
            wake: wake.clone(),
            clock,
            identity,
            platform: Arc::new(config.platform),
            logs,
            members: members.clone(),
        };
        let admin = admin(&mind.observer, &wake);
        let leads = admin.metrics().gauge("controller_leads", "1 while this controller plans.");
        tasks.spawn("lead", tell_lead(mind.leader.leading(), leads, stop.clone()));
        let builds = Builds::new(context.clone());
        let life = incarnation::outlived(mind.observer.clone(), self.incarnation, stop.clone());
        tasks.spawn("life of the store", life);
        tasks.spawn("build locks", builds.clone().follow_locks(stop.clone()));
        if let (Some(members), StoreConfig::Etcd(etcd)) = (members.clone(), config.store) {
            let following = follow_certificates(members, etcd, stop.clone());
            tasks.spawn("certificate for etcd", following);
        }
        if let Some(members) = members {
            let promoting =
                membership::promote_learners(members, mind.leader.clone(), stop.clone());
            tasks.spawn("members of the store", promoting);
        }
        let gateway = Gateway {
            nodes: mind.nodes,
            routers: mind.routers,
            builds,
            context: context.clone(),
            leader: mind.leader,
            stop: stop.clone(),
        };

        tasks.spawn("admin", admin.serve(self.admin, stop.clone()));
        tasks.spawn("gateway", gateway.serve(self.gateway));
        tasks.spawn("api", https::serve(self.api, api_tls, api::router(context), stop));
        Ok(tasks.finish().await?)
    }
}

/// This node, as it is before it was heard.
fn own(config: &Config) -> anyhow::Result<Member> {
    let addresses = Addresses {
        logger: config.parts.logger.clone(),
        registry: config.parts.registry_control.clone(),
        ..Addresses::default()
    };
    let name = config.node.parse().context("the node's name")?;
    Ok(Member { name, addresses })
}

fn admin(observer: &Arc<Observer>, wake: &Wake) -> Admin {
    let admin = Admin::new("controller");
    let observer = observer.clone();
    admin.check("store", move || observer.seen().trouble.map_or(Ok(()), Err));
    let wake = wake.clone();
    admin.check("planner", move || wake.check());
    admin
}

/// Tells operators whether this controller leads.
async fn tell_lead(mut leading: watch::Receiver<bool>, leads: Gauge, stop: Stop) {
    loop {
        leads.set(i64::from(*leading.borrow_and_update()));
        tokio::select! {
            () = stop.wait() => return,
            Ok(()) = leading.changed() => {}
        }
    }
}

type OpenStore = (Arc<dyn Store>, Option<EtcdMembers>);

async fn open_store(config: &StoreConfig) -> anyhow::Result<OpenStore> {
    match config {
        StoreConfig::Embedded(path) => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(path)).await?;
            Ok((Arc::new(opened?), None))
        }
        StoreConfig::Etcd(etcd) => {
            let store = connect_in_time(&etcd_options(etcd)?).await?;
            let members = store.members();
            Ok((Arc::new(store), Some(members)))
        }
    }
}

/// Waits for etcd as long as it takes: after a power cut it answers when most of its members are back, and a new
/// member when it has learnt all.
async fn connect_in_time(options: &EtcdOptions) -> Result<EtcdStore, StoreError> {
    let mut told = false;
    loop {
        match EtcdStore::connect(options.clone()).await {
            Err(error) if error.is_retryable() => {
                if !std::mem::replace(&mut told, true) {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(error, "etcd does not answer yet; waiting for it");
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// Connects to etcd anew when our certificate was renewed.
async fn follow_certificates(
    members: EtcdMembers,
    etcd: EtcdConfig,
    stop: Stop,
) -> anyhow::Result<()> {
    let Some(files) = &etcd.tls else { return Ok(()) };
    let files = vec![files.ca.clone(), files.certificate.clone(), files.key.clone()];
    let options = Fresh::new("certificate for etcd", files, move || etcd_options(&etcd))?;
    let mut used = options.get();
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tokio::time::sleep(LOOK_AT_CERTIFICATES) => {}
        }
        let now = options.get();
        if !Arc::ptr_eq(&used, &now) {
            members.reconnect(&now).await.context("connect to etcd anew")?;
            used = now;
        }
    }
}

fn etcd_options(etcd: &EtcdConfig) -> anyhow::Result<EtcdOptions> {
    Ok(EtcdOptions {
        endpoints: etcd.endpoints.clone(),
        tls: etcd.tls.as_ref().map(etcd_tls).transpose()?,
        key_prefix: etcd.prefix.clone(),
    })
}

fn etcd_tls(files: &EtcdFiles) -> anyhow::Result<EtcdTls> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("read `{}`", path.display()));
    Ok(EtcdTls {
        ca_pem: read(&files.ca)?,
        certificate_pem: read(&files.certificate)?,
        key_pem: read(&files.key)?,
        server_name: files.server_name.clone(),
    })
}
