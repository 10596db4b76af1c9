//! The planner with its store: placements with their commits, a node's units placed anew, a new leader's first look.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use controller::apply::Applier;
use controller::heard::Heard;
use controller::leader::{Leader, Signs};
use controller::observe::Observer;
use controller::plan::{Ids, Rules, plan};
use controller::records::{Records, Write};
use model::app::{App, Scale};
use model::name::{ProcessType, ReleaseNumber};
use model::node::{Addresses, Node, NodeSpec};
use model::release::{Build, Release, ReleaseState};
use model::snapshot::Snapshot;
use model::time::Time;
use model::unit::{Phase, UnitStatus};
use service::{Stop, Wake};
use store::{EtcdOptions, EtcdStore, Store, Txn};

use super::{Figure, progress};

const APPS: usize = 500;
const UNITS_PER_APP: u32 = 20;
const NODES: usize = 50;
const UNIT_BYTES: u64 = 64 << 20;
const NOW: Time = Time(10_000_000);
/// Documents in one transaction.
const GROUP: usize = 60;
const PORTS: (u16, u16) = (23790, 23800);

/// Measures and prints.
pub fn run_all() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(measure());
}

async fn measure() {
    let etcd = Etcd::start().await;
    let records = Records::new(Arc::new(etcd.connect("bench/").await));
    progress("500 apps that want 20 units each, 50 nodes, nothing placed");
    seed(&records).await;
    let leader = Leader::new(records.clone(), "bench");
    leader.take(Signs::default()).await.expect("nobody else leads");
    let applier = Applier { records: records.clone(), leader };
    let rules = Rules { default_memory_bytes: UNIT_BYTES };
    let mut ids = Numbers(0);

    let mut world = World::observe(&records).await;
    let (placed, took) = world.settle(&applier, &rules, &mut ids).await;
    assert_eq!(placed, APPS * UNITS_PER_APP as usize);
    let per_unit = took.as_secs_f64() * 1e6 / placed as f64;
    let raw = raw_puts(etcd.connect("raw/").await, placed).await;
    Figure {
        bench: "10,000 placements decided and committed",
        unit: "us/unit",
        ours: per_unit,
        peer: Some(("the same puts in etcd, nothing decided", raw)),
    }
    .print();

    progress("a new leader looks at it all for the first time");
    let before = resident_kib();
    let began = Instant::now();
    let mut world = World::observe(&records).await;
    let decided = plan(&world.snapshot(), &rules, NOW, &mut ids);
    let took = began.elapsed().as_secs_f64();
    assert!(decided.actions.iter().all(|action| !is_start(action)), "nothing is missing");
    Figure {
        bench: "a new leader's full reconcile, 10,000 units",
        unit: "s",
        ours: took,
        peer: None,
    }
    .print();
    let kib = resident_kib().saturating_sub(before) as f64;
    Figure {
        bench: "image of the world, per 1,000 units",
        unit: "KiB",
        ours: kib / 10.0,
        peer: None,
    }
    .print();

    progress("a node of 200 units dies");
    world.lose("node-0001");
    let (moved, took) = world.settle(&applier, &rules, &mut ids).await;
    let name = format!("{moved} units of a dead node placed anew, decided and committed");
    Figure { bench: &name, unit: "s", ours: took.as_secs_f64(), peer: None }.print();
}

fn is_start(action: &controller::plan::Action) -> bool {
    matches!(action, controller::plan::Action::StartUnit(_))
}

/// The stored world with what agents would say of it.
struct World {
    observer: Arc<Observer>,
    heard: Heard,
    stop: Stop,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl World {
    async fn observe(records: &Records) -> World {
        let observer = Arc::new(Observer::start(records.clone()).await.expect("the store is read"));
        let stop = Stop::new();
        tokio::spawn(observer.clone().follow(Wake::new(), stop.clone()));
        let world = World { observer, heard: Heard::since(NOW), stop };
        world.hear(None);
        world
    }

    /// All nodes but one say that all is well.
    fn hear(&self, but: Option<&str>) {
        let (snapshot, _) = self.observer.snapshot(|_| {});
        for place in 0..NODES {
            let name = format!("node-{place:04}");
            if but == Some(name.as_str()) {
                continue;
            }
            let here = snapshot.units.values().filter(|unit| unit.value.node.as_str() == name);
            let status = UnitStatus {
                phase: Phase::Ready,
                address: None,
                published: None,
                restarts: 0,
                since: NOW,
                trouble: None,
            };
            let statuses = here.map(|unit| (unit.value.id.clone(), status.clone())).collect();
            self.heard.node(node(&name), statuses);
        }
    }

    fn lose(&mut self, name: &str) {
        self.heard = Heard::since(Time(0));
        self.hear(Some(name));
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.observer.snapshot(|world| self.heard.complete(world, 0, NOW)).0
    }

    /// Plans and applies until no unit is missing. Gives how many were started, and how long it took.
    async fn settle(
        &mut self,
        applier: &Applier,
        rules: &Rules,
        ids: &mut Numbers,
    ) -> (usize, Duration) {
        let (began, mut started) = (Instant::now(), 0);
        loop {
            let snapshot = self.snapshot();
            let plan = plan(&snapshot, rules, NOW, ids);
            let starts = plan.actions.iter().filter(|action| is_start(action)).count();
            if starts == 0 {
                return (started, began.elapsed());
            }
            let applied = applier.apply(&plan.actions, &snapshot).await.expect("etcd takes it");
            started += starts;
            self.observer.caught_up(applied.revision).await.expect("the image follows");
        }
    }
}

fn node(name: &str) -> Node {
    Node {
        sessions_bytes: 0,
        name: name.parse().expect("a node's name"),
        addresses: Addresses::default(),
        memory_bytes: 2 * UNIT_BYTES * APPS as u64 * u64::from(UNITS_PER_APP) / NODES as u64,
        cpu_millis: 4_000,
        disk_free_bytes: 0,
        version: String::new(),
        clock_ahead_ms: 0,
        trouble: None,
        sights: BTreeMap::new(),
        left_running: BTreeMap::new(),
        heard: NOW,
    }
}

async fn seed(records: &Records) {
    for place in 0..NODES {
        let spec = NodeSpec {
            name: format!("node-{place:04}").parse().expect("a node's name"),
            addresses: Addresses::default(),
            labels: BTreeMap::new(),
            duty: model::node::Duty::Open,
            joined: NOW,
            admission: String::new(),
        };
        records.commit(Write::new().create(&spec)).await.expect("etcd takes it");
    }
    let worker: ProcessType = "worker".parse().expect("a type's name");
    for place in 0..APPS {
        let name = format!("app-{place:04}").parse().expect("an app's name");
        let mut app = App::new(name, "olga".parse().expect("a user's name"), NOW);
        let scale = Scale { count: UNITS_PER_APP, changed: NOW, ..Scale::default() };
        app.formation.insert(worker.clone(), scale);
        app.current = Some(ReleaseNumber(1));
        let release = Release {
            app: app.name.clone(),
            number: ReleaseNumber(1),
            created: NOW,
            created_by: app.owner.clone(),
            summary: String::new(),
            build: Some(Build {
                image: format!("{}@sha256:1", app.name),
                commit: None,
                processes: [(worker.clone(), None)].into(),
                exposed_port: None,
            }),
            config: BTreeMap::new(),
            settings: BTreeMap::new(),
            state: ReleaseState::Succeeded,
        };
        records.commit(Write::new().create(&app).create(&release)).await.expect("etcd takes it");
    }
}

/// Puts as many documents of a unit's size in as large transactions, one after the other; microseconds per put.
async fn raw_puts(store: EtcdStore, count: usize) -> f64 {
    let value = vec![b'x'; 350];
    let began = Instant::now();
    for group in 0..count / GROUP {
        let txn = (0..GROUP).fold(Txn::new(), |txn, place| {
            txn.put(format!("units/{group}-{place}"), value.clone())
        });
        store.transact(txn).await.expect("etcd takes it");
    }
    began.elapsed().as_secs_f64() * 1e6 / count as f64
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it tells its memory");
    let number = line.split_whitespace().nth(1).expect("a number follows");
    number.parse().expect("it is a number")
}

struct Numbers(u64);

impl Ids for Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("{:08}", self.0)
    }
}

/// One member of etcd on loopback.
struct Etcd {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Etcd {
    async fn start() -> Etcd {
        let folder = tempfile::tempdir().expect("a folder is made");
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(PORTS.0), url(PORTS.1));
        let child = Command::new("etcd")
            .args(["--name", "bench", "--initial-cluster", &format!("bench={peer}")])
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`cargo xtask bench` installed etcd");
        Etcd { child, _folder: folder }
    }

    async fn connect(&self, prefix: &str) -> EtcdStore {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let options = EtcdOptions {
                endpoints: vec![format!("http://127.0.0.1:{}", PORTS.0)],
                tls: None,
                key_prefix: prefix.to_owned(),
            };
            match EtcdStore::connect(options).await {
                Ok(store) => return store,
                Err(error) => assert!(Instant::now() < deadline, "etcd does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
