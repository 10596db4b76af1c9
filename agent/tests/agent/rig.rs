//! A node for one test: identities, a gateway that hands out orders, a logger that remembers, an agent that can be killed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent::{
    Config,
    docker::{Docker, spec::Place},
    volumes::Volumes,
};
use model::{
    name::{ReleaseNumber, UnitId},
    node::Addresses,
    release::{Check, Probe},
    time::Time,
    unit::{Desired, Phase, Unit, UnitKind, UnitStatus},
};
use proto::{
    gateway::{
        Assignment, AssignmentSet, AssignmentsRequest, NodeReport, ReportAnswer,
        gateway_server::{Gateway, GatewayServer},
    },
    logger::{
        AppendAnswer, AppendRequest, ForgetAnswer, ForgetRequest, Line, LineBatch, ReadRequest,
        logger_server::{Logger, LoggerServer},
    },
};
use service::{Authority, Identity, Stop, Subject};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, transport::Server};

/// The image all units of these tests run.
pub const IMAGE: &str = "trireme/stack:12";
/// A web server in one line; it answers `ok` and prints what was asked.
pub const SERVER: &str = r#"exec perl -MIO::Socket::INET -e '$|=1; my $s=IO::Socket::INET->new(LocalPort=>$ENV{PORT},Listen=>50,ReuseAddr=>1) or die; while(my $c=$s->accept){ my $l=<$c>; print "hit $l"; print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"; close $c }'"#;
/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Runs `docker` and returns what it printed.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs `docker` and tells whether it refused.
pub fn docker_fails(arguments: &[&str]) -> bool {
    !Command::new("docker").args(arguments).output().expect("docker is installed").status.success()
}

/// The engine alone, without an agent.
pub fn engine(node: &str, network: &str) -> Docker {
    let place = Place {
        node: node.to_owned(),
        network: network.to_owned(),
        cpu_millis: 1_000,
        publish: None,
        volumes: Volumes::new("/nowhere".into()),
    };
    Docker::new("/var/run/docker.sock".into(), place)
}

/// A gateway whose orders a test chooses.
#[derive(Clone)]
pub struct FakeGateway {
    sets: watch::Sender<Option<AssignmentSet>>,
    report: watch::Sender<Option<NodeReport>>,
    /// Whether it says that it leads.
    leads: watch::Sender<bool>,
    /// Phases seen, in order, by unit.
    seen: Arc<Mutex<HashMap<String, Vec<Phase>>>>,
}

#[tonic::async_trait]
impl Gateway for FakeGateway {
    async fn assignments(
        &self,
        request: Request<AssignmentsRequest>,
    ) -> Result<Response<tonic::codegen::BoxStream<AssignmentSet>>, Status> {
        service::peer(&request)?.require_role(&["agent"])?;
        let (sender, receiver) = mpsc::channel(1);
        let mut sets = self.sets.subscribe();
        sets.mark_changed();
        tokio::spawn(async move {
            while sets.changed().await.is_ok() {
                let set = sets.borrow_and_update().clone();
                if let Some(set) = set
                    && sender.send(Ok(set)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn report_node(
        &self,
        request: Request<NodeReport>,
    ) -> Result<Response<ReportAnswer>, Status> {
        service::peer(&request)?.require_role(&["agent"])?;
        let report = request.into_inner();
        for (unit, status) in &report.statuses_json {
            let status: UnitStatus = serde_json::from_str(status).unwrap();
            let mut seen = self.seen.lock().unwrap();
            let phases = seen.entry(unit.clone()).or_default();
            if phases.last() != Some(&status.phase) {
                phases.push(status.phase);
            }
        }
        self.report.send_replace(Some(report));
        Ok(Response::new(ReportAnswer { leads: *self.leads.borrow() }))
    }
}

/// A logger that remembers every line, and can be down.
#[derive(Clone, Default)]
pub struct FakeLogger {
    state: Arc<Mutex<LoggerState>>,
}

#[derive(Default)]
struct LoggerState {
    is_down: bool,
    lines: Vec<Line>,
    last: BTreeMap<String, u64>,
}

#[tonic::async_trait]
impl Logger for FakeLogger {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendAnswer>, Status> {
        service::peer(&request)?.require_role(&["agent"])?;
        let batch = request.into_inner();
        assert!((1..=1_000).contains(&batch.lines.len()));
        let mut state = self.state.lock().unwrap();
        if state.is_down {
            return Err(Status::unavailable("down"));
        }
        let last = state.last.entry(batch.source).or_default();
        if batch.sequence > *last {
            *last = batch.sequence;
            state.lines.extend(batch.lines);
        }
        Ok(Response::new(AppendAnswer {}))
    }

    type ReadStream = tonic::codegen::BoxStream<LineBatch>;

    async fn read(
        &self,
        _request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("nobody reads here"))
    }

    async fn ship(
        &self,
        _: Request<proto::logger::ShipRequest>,
    ) -> Result<Response<AppendAnswer>, Status> {
        Err(Status::unimplemented("for loggers"))
    }

    async fn origins(
        &self,
        _: Request<proto::logger::OriginsRequest>,
    ) -> Result<Response<proto::logger::OriginsAnswer>, Status> {
        Err(Status::unimplemented("for the controller"))
    }

    async fn forget(
        &self,
        _request: Request<ForgetRequest>,
    ) -> Result<Response<ForgetAnswer>, Status> {
        Err(Status::unimplemented("nobody forgets here"))
    }
}

impl FakeLogger {
    pub fn set_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// The lines of one process, oldest first.
    pub fn lines(&self, process: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let lines = state.lines.iter().filter(|line| line.process == process);
        lines.map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    /// All there is to know of one process's lines.
    pub fn whole_lines(&self, process: &str) -> Vec<Line> {
        let state = self.state.lock().unwrap();
        state.lines.iter().filter(|line| line.process == process).cloned().collect()
    }
}

/// One node.
pub struct Rig {
    pub node: String,
    pub gateway: FakeGateway,
    pub logger: FakeLogger,
    pub agent: SocketAddr,
    gateway_address: SocketAddr,
    logger_address: SocketAddr,
    folder: TempDir,
    version: u64,
    units: BTreeMap<UnitId, Assignment>,
    servers: Option<Runtime>,
    running: Option<(Runtime, Stop)>,
    reserve: Option<u64>,
    publish: Option<IpAddr>,
    /// Gateways beside the one of this rig.
    others: Vec<String>,
    epoch: u64,
}

impl Rig {
    /// A node with everything running and no orders yet.
    pub async fn new() -> Rig {
        service::install_crypto();
        let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let short: String = name.replace('_', "-").chars().take(20).collect();
        let node = format!("t-{short}-{:08x}", rand::random::<u32>()).replace("--", "-");
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        for role in ["agent", "controller", "logger", "router"] {
            let subject = Subject { role, node: &node, dns: vec![], ips: vec![] };
            let issued = authority.issue(&subject, 30).unwrap();
            issued.write(&folder.path().join("identity").join(role), authority.ca_pem()).unwrap();
        }
        let gateway = FakeGateway {
            sets: watch::Sender::new(None),
            report: watch::Sender::new(None),
            leads: watch::Sender::new(true),
            seen: Arc::default(),
        };
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut rig = Rig {
            node,
            gateway,
            logger: FakeLogger::default(),
            agent: free,
            gateway_address: "127.0.0.1:0".parse().unwrap(),
            logger_address: "127.0.0.1:0".parse().unwrap(),
            folder,
            version: 0,
            units: BTreeMap::new(),
            servers: None,
            running: None,
            reserve: None,
            publish: None,
            others: Vec::new(),
            epoch: 1,
        };
        rig.start_servers().await;
        rig.start_agent().await;
        rig
    }

    /// Leaves so much of the machine's memory to the system.
    pub fn reserve(&mut self, bytes: u64) {
        self.reserve = Some(bytes);
    }

    /// Publishes units on this address.
    pub fn publish_on(&mut self, address: &str) {
        self.publish = Some(address.parse().unwrap());
    }

    /// Further gateways for the agent's next start.
    pub fn add_gateway(&mut self, address: String) {
        self.others.push(address);
    }

    fn gateways(&self) -> Vec<String> {
        let own = self.gateway_address.to_string();
        self.others.iter().cloned().chain([own]).collect()
    }

    pub fn identity(&self, role: &str) -> Identity {
        Identity::load(&self.folder.path().join("identity").join(role)).unwrap()
    }

    /// The gateway and the logger, at the addresses they had before if they had any.
    pub async fn start_servers(&mut self) {
        let runtime = runtime();
        let listen = async |address: SocketAddr| {
            eventually("the port to be free", async || TcpListener::bind(address).await.ok()).await
        };
        let (gateway, logger) =
            (listen(self.gateway_address).await, listen(self.logger_address).await);
        self.gateway_address = gateway.local_addr().unwrap();
        self.logger_address = logger.local_addr().unwrap();
        let controller = self.identity("controller");
        let served = Server::builder()
            .add_service(GatewayServer::new(self.gateway.clone()))
            .serve_with_incoming(controller.incoming(rehomed(gateway, &runtime)));
        runtime.spawn(served);
        let served = Server::builder()
            .add_service(LoggerServer::new(self.logger.clone()))
            .serve_with_incoming(self.identity("logger").incoming(rehomed(logger, &runtime)));
        runtime.spawn(served);
        self.servers = Some(runtime);
    }

    /// Ends the gateway and the logger at once.
    pub fn kill_servers(&mut self) {
        if let Some(servers) = self.servers.take() {
            servers.shutdown_background();
        }
        self.gateway.report.send_replace(None);
    }

    pub async fn start_agent(&mut self) {
        let config = Config {
            node: self.node.parse().unwrap(),
            gateways: self.gateways(),
            logger: self.logger_address.to_string(),
            addresses: Addresses {
                agent: self.agent.to_string(),
                logger: String::new(),
                registry: String::new(),
                gateway: None,
            },
            listen: self.agent,
            admin: "127.0.0.1:0".parse().unwrap(),
            registry: "127.0.0.1:1".to_owned(),
            folder: self.folder.path().join("agent"),
            identity: self.folder.path().join("identity").join("agent"),
            docker_socket: "/var/run/docker.sock".into(),
            network: "trireme".to_owned(),
            publish: self.publish,
            reserve_memory: self.reserve.map(service::Size),
        };
        let stop = Stop::new();
        let runtime = runtime();
        let ready = {
            let stop = stop.clone();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            runtime.spawn(async move {
                let agent = loop {
                    // The port is free when the last of the killed agent's tasks is gone.
                    match agent::Agent::bind(config.clone()).await {
                        Ok(agent) => break agent,
                        Err(_) => tokio::time::sleep(POLL).await,
                    }
                };
                sender.send(()).unwrap();
                agent.run(stop).await.unwrap();
            });
            receiver
        };
        ready.await.unwrap();
        self.running = Some((runtime, stop));
    }

    /// Ends the agent as SIGKILL would: nothing it does goes on.
    pub fn kill_agent(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
        self.gateway.report.send_replace(None);
    }

    /// A unit of this node that runs a shell line.
    pub fn unit(&self, id: &str, line: &str) -> Assignment {
        let unit = Unit {
            exclusive: false,
            mounts: BTreeMap::new(),
            id: format!("{}-{id}", self.node).parse().unwrap(),
            app: "shop".parse().unwrap(),
            process: "web".parse().unwrap(),
            ordinal: id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(1),
            release: ReleaseNumber(1),
            epoch: 0,
            kind: UnitKind::Service,
            node: self.node.parse().unwrap(),
            memory_bytes: 64 << 20,
            created: Time(1),
            desired: Desired::Run,
        };
        let check = Check {
            probe: Probe::Tcp,
            grace_ms: 60_000,
            period_ms: 200,
            timeout_ms: 5_000,
            rise: 1,
            fall: 3,
        };
        Assignment {
            unit_json: serde_json::to_string(&unit).unwrap(),
            image: IMAGE.to_owned(),
            command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            env: HashMap::from([("PORT".to_owned(), "5000".to_owned())]),
            port: 5000,
            cpu_millis: 0,
            check_json: serde_json::to_string(&check).unwrap(),
            stop_grace_seconds: 5,
        }
    }

    /// Orders that this unit be so.
    pub fn order(&mut self, assignment: Assignment) {
        let unit: Unit = serde_json::from_str(&assignment.unit_json).unwrap();
        self.units.insert(unit.id, assignment);
        self.publish();
    }

    /// Orders what shall become of a unit.
    pub fn desire(&mut self, id: &str, desired: Desired) {
        self.desire_quietly(id, desired);
        self.publish();
    }

    /// The same, but nobody is told yet.
    pub fn desire_quietly(&mut self, id: &str, desired: Desired) {
        let id = self.id(id);
        let assignment = self.units.get_mut(&id).unwrap();
        change(assignment, |unit| unit.desired = desired);
    }

    /// Where the agent keeps volumes.
    pub fn volumes(&self) -> PathBuf {
        self.folder.path().join("agent").join("volumes")
    }

    /// Takes the kept orders away.
    pub fn remove_kept_orders(&self) {
        std::fs::remove_file(self.folder.path().join("agent").join("orders.json")).unwrap();
    }

    /// Orders nothing of a unit any more.
    pub fn drop_order(&mut self, id: &str) {
        let id = self.id(id);
        self.units.remove(&id);
        self.publish();
    }

    pub fn publish(&mut self) {
        self.version += 1;
        self.publish_as(self.version, "incarnation-1");
    }

    pub fn publish_as(&self, version: u64, incarnation: &str) {
        let units = self.units.values().cloned().collect();
        let set = AssignmentSet {
            epoch: self.epoch,
            version,
            incarnation: incarnation.to_owned(),
            units,
        };
        self.gateway.sets.send_replace(Some(set));
    }

    /// Another lead: versions count anew.
    pub fn begin_epoch(&mut self, epoch: u64) {
        (self.epoch, self.version) = (epoch, 0);
    }

    pub fn id(&self, id: &str) -> UnitId {
        format!("{}-{id}", self.node).parse().unwrap()
    }

    pub fn report(&self) -> Option<NodeReport> {
        self.gateway.report.borrow().clone()
    }

    /// How many reports come in this time.
    pub async fn count_reports(&self, within: Duration) -> usize {
        let mut reports = self.gateway.report.subscribe();
        let (began, mut count) = (Instant::now(), 0);
        while let Some(left) = within.checked_sub(began.elapsed()) {
            count += usize::from(tokio::time::timeout(left, reports.changed()).await.is_ok());
        }
        count
    }

    /// Whether the gateway says that it leads.
    pub fn set_leads(&self, leads: bool) {
        self.gateway.leads.send_replace(leads);
    }

    /// What was last told of a unit.
    pub fn status(&self, id: &str) -> Option<UnitStatus> {
        let report = self.report()?;
        let status = report.statuses_json.get(self.id(id).as_str())?;
        Some(serde_json::from_str(status).unwrap())
    }

    /// Every phase that was told of a unit, in order.
    pub fn phases(&self, id: &str) -> Vec<Phase> {
        self.gateway.seen.lock().unwrap().get(self.id(id).as_str()).cloned().unwrap_or_default()
    }

    pub async fn until(
        &self,
        id: &str,
        what: &str,
        is_so: impl Fn(&UnitStatus) -> bool,
    ) -> UnitStatus {
        let mut last = None;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            last = self.status(id);
            if let Some(status) = last.clone().filter(&is_so) {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("unit {id} was never {what}; last: {last:?}");
    }

    pub async fn until_phase(&self, id: &str, phase: Phase) -> UnitStatus {
        self.until(id, &format!("{phase:?}"), |status| status.phase == phase).await
    }

    /// Ids of a unit's containers, running or not.
    pub fn containers(&self, id: &str) -> Vec<String> {
        let label = format!("label=trireme.unit={}", self.id(id));
        let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &label]);
        ids.lines().map(str::to_owned).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill_agent();
        self.kill_servers();
        // A killed agent may have left calls under way, so look until nothing comes any more.
        let label = format!("label=trireme.node={}", self.node);
        for _ in 0..5 {
            let left = docker(&["ps", "-aq", "--filter", &label]);
            let ids: BTreeSet<&str> = left.lines().collect();
            if ids.is_empty() {
                return;
            }
            for id in ids {
                // It may be on its way out already.
                let _ = Command::new("docker").args(["rm", "-f", id]).output();
            }
        }
    }
}

/// Changes the unit of an assignment.
pub fn change(assignment: &mut Assignment, change: impl FnOnce(&mut Unit)) {
    let mut unit: Unit = serde_json::from_str(&assignment.unit_json).unwrap();
    change(&mut unit);
    assignment.unit_json = serde_json::to_string(&unit).unwrap();
}

/// Changes the check of an assignment.
pub fn change_check(assignment: &mut Assignment, change: impl FnOnce(&mut Check)) {
    let mut check: Check = serde_json::from_str(&assignment.check_json).unwrap();
    change(&mut check);
    assignment.check_json = serde_json::to_string(&check).unwrap();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A listener belongs to the runtime it was made in.
fn rehomed(listener: TcpListener, runtime: &Runtime) -> TcpListener {
    let listener = listener.into_std().unwrap();
    let _guard = runtime.enter();
    TcpListener::from_std(listener).unwrap()
}

/// Runs a test on a runtime of its own; dropping runtimes inside one is not allowed otherwise.
pub fn with_rig<F: Future<Output = ()>>(test: impl FnOnce(Rig) -> F) {
    let runtime = runtime();
    let rig = runtime.block_on(Rig::new());
    runtime.block_on(test(rig));
}
