//! A controller's folder, the controller that runs on it, and the hand of an API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use controller::Controller;
use controller::config::{Config, Files, Listen, Parts, StoreConfig};
use controller::platform::Platform;
use controller::records::{Records, Write};
use controller::seal::Seal;
use model::app::{App, Deploy, Outcome};
use model::name::{AppName, ProcessType, ReleaseNumber};
use model::release::{Build, Command, Release, ReleaseState};
use model::snapshot::Versioned;
use model::time::Time;
use model::unit::Unit;
use service::{Authority, Clock, Identity, Stop, Subject};
use tokio::task::JoinHandle;

pub const MIB: u64 = 1 << 20;
/// How long something that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What outlives a controller.
pub struct Cluster {
    folder: tempfile::TempDir,
    authority: Authority,
}

/// A running controller.
pub struct Running {
    pub api: String,
    pub gateway: String,
    pub admin: String,
    pub records: Records,
    seal: Arc<Seal>,
    stop: Stop,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Cluster {
    pub fn new() -> Cluster {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let cluster = Cluster { folder, authority };
        cluster.identity("controller", "n1");
        let names = ["deis.apps.localhost".to_owned(), "localhost".to_owned()];
        let api =
            cluster.authority.issue_server(&names, &["127.0.0.1".parse().unwrap()], 1).unwrap();
        api.write(&cluster.path().join("api"), cluster.authority.ca_pem()).unwrap();
        std::fs::create_dir(cluster.path().join("controller")).unwrap();
        std::fs::write(cluster.path().join("controller/seal.key"), [7; 32]).unwrap();
        cluster
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn authority_folder(&self) -> std::path::PathBuf {
        self.path().join("ca")
    }

    pub fn ca_pem(&self) -> &str {
        self.authority.ca_pem()
    }

    /// A part's identity.
    pub fn identity(&self, role: &str, node: &str) -> Identity {
        let subject = Subject { role, node, dns: vec!["localhost".to_owned()], ips: Vec::new() };
        let folder = self.path().join(format!("{role}-{node}"));
        let issued = self.authority.issue(&subject, 1).unwrap();
        issued.write(&folder, self.authority.ca_pem()).unwrap();
        Identity::load(&folder).unwrap()
    }

    fn config(&self) -> Config {
        let any = "127.0.0.1:0".parse().unwrap();
        // Nobody listens there: the log and the registry are not needed.
        let nobody = "127.0.0.1:9".to_owned();
        Config {
            node: "n1".to_owned(),
            listen: Listen { api: any, gateway: any, admin: any },
            parts: Parts { logger: nobody.clone(), registry_control: nobody.clone() },
            files: Files {
                data: self.path().to_owned(),
                folder: self.path().join("controller"),
                identity: self.path().join("controller-n1"),
                api: self.path().join("api"),
            },
            store: StoreConfig::Embedded(self.path().join("controller/store.redb")),
            platform: Platform {
                version: "0".to_owned(),
                domain: "apps.localhost".to_owned(),
                git_remote_base: "ssh://git@localhost:2222".to_owned(),
                http_port: 80,
                https_port: 443,
                logger: nobody,
                default_memory_bytes: 64 * MIB,
                reserve: controller::platform::Reserve::Warn,
            },
        }
    }

    pub async fn start(&self) -> Running {
        let controller = Controller::bind(self.config()).await.unwrap();
        let [api, gateway, admin] =
            controller.addresses().unwrap().map(|address| address.to_string());
        let (records, stop) = (controller.records().clone(), Stop::new());
        let ended = tokio::spawn(controller.run(stop.clone()));
        Running { api, gateway, admin, records, seal: Arc::new(Seal::new(&[7; 32])), stop, ended }
    }
}

impl Running {
    /// Asks it to stop and waits until it has, so that the store is free again.
    pub async fn stop(self) {
        drop(self.records);
        self.stop.set();
        tokio::time::timeout(PATIENCE, self.ended).await.unwrap().unwrap().unwrap();
    }

    pub async fn app(&self, name: &str) -> Versioned<App> {
        self.records.app(&name.parse().unwrap()).await.unwrap().unwrap()
    }

    pub async fn units(&self) -> Vec<Versioned<Unit>> {
        self.records.all().await.unwrap()
    }

    pub async fn create(&self, name: &str) {
        let app = App::new(name.parse().unwrap(), "olga".parse().unwrap(), now());
        self.records.commit(Write::new().create(&app)).await.unwrap();
    }

    /// Changes an app as the API would; gives the generation to wait for.
    pub async fn change(&self, name: &str, change: impl Fn(&mut App)) -> u64 {
        let app = self.app(name).await;
        let mut changed = app.value;
        change(&mut changed);
        changed.generation += 1;
        self.records.commit(Write::new().replace(&changed, app.revision)).await.unwrap();
        changed.generation
    }

    pub async fn scale(&self, name: &str, process: &str, count: u32) -> u64 {
        let process: ProcessType = process.parse().unwrap();
        self.change(name, |app| {
            let scale = app.formation.entry(process.clone()).or_default();
            (scale.count, scale.changed) = (count, now());
        })
        .await
    }

    /// A release with one web process, on its way.
    pub async fn deploy(&self, name: &str) -> u64 {
        let app = self.app(name).await;
        let number = ReleaseNumber(app.value.next_release);
        let release = self.release(&app.value.name, number);
        let mut changed = app.value;
        changed.next_release += 1;
        changed.generation += 1;
        changed.target = Some(Deploy { release: number, started: now() });
        changed.formation.entry(ProcessType::web()).or_insert_with(|| model::app::Scale {
            count: 1,
            changed: now(),
            ..Default::default()
        });
        let write = Write::new().replace(&changed, app.revision).create(&release);
        self.records.commit(write).await.unwrap();
        changed.generation
    }

    fn release(&self, app: &AppName, number: ReleaseNumber) -> Release {
        let command = Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), "serve".to_owned()]);
        let greeting = self.seal.seal(&format!("{app}/GREETING"), "häl\nlo".as_bytes());
        Release {
            app: app.clone(),
            number,
            created: now(),
            created_by: "olga".parse().unwrap(),
            summary: "deploy".to_owned(),
            build: Some(Build {
                image: format!("127.0.0.1:5000/{app}@sha256:{number}"),
                commit: None,
                processes: [(ProcessType::web(), Some(command))].into(),
                exposed_port: None,
            }),
            config: [("GREETING".parse().unwrap(), greeting)].into(),
            settings: Default::default(),
            state: ReleaseState::Deploying,
        }
    }

    /// Waits until a change came to its end.
    pub async fn settled(&self, name: &str, generation: u64) -> Outcome {
        let what = format!("generation {generation} of {name} to settle");
        eventually(&what, async || {
            let app = self.app(name).await.value;
            (app.settled.generation >= generation).then_some(app.settled.outcome)
        })
        .await
    }
}

pub fn now() -> Time {
    Time(Clock::system().now_ms())
}

/// Waits until something holds.
pub async fn eventually<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let looked = async {
        loop {
            if let Some(held) = holds().await {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(held) => held,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
