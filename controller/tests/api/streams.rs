//! Rollouts and logs over server-sent events, one-off commands over a websocket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::reach::Reach;
use controller::records::Write;
use controller::volumes::Volumes;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use model::app::Outcome;
use model::node::{Addresses, Duty, Member, Node, NodeSpec};
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::{Desired, Phase, Unit, UnitKind, UnitStatus};
use model::volume::Doomed;
use proto::agent::agent_server::{Agent, AgentServer};
use proto::agent::run_input::Input;
use proto::agent::run_output::Output;
use proto::agent::{RemoveVolumeAnswer, RemoveVolumeRequest, RunInput, RunOutput};
use proto::logger::logger_server::{Logger, LoggerServer};
use proto::logger::{
    AppendAnswer, AppendRequest, ForgetAnswer, ForgetRequest, Line, LineBatch, ReadRequest,
};
use proto::problem::{Code, Problem};
use serde_json::{Value, json};
use service::{Stop, Tasks};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tonic::{Request, Response, Status, Streaming};

use crate::harness::{PATIENCE, Platform, START_MS, crashed};

/// Events of a stream that is still open.
struct Events {
    body: hyper::body::Incoming,
    text: String,
}

impl Events {
    async fn open(platform: &Platform, token: &str, path: &str) -> Events {
        let response = platform.send(platform.request(token, "GET", path, "")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body(), text: String::new() }
    }

    /// The next event's data; none at the stream's end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data: Option<Value> = event
                    .lines()
                    .find_map(|line| line.strip_prefix("data: "))
                    .map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        }
    }

    async fn rest(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

/// The first web unit of a release.
fn unit(release: u32) -> Unit {
    Unit {
        exclusive: false,
        mounts: BTreeMap::new(),
        id: format!("shop-web-{release}").parse().unwrap(),
        app: "shop".parse().unwrap(),
        process: "web".parse().unwrap(),
        ordinal: 1,
        release: model::name::ReleaseNumber(release),
        epoch: 0,
        kind: UnitKind::Service,
        node: "node1".parse().unwrap(),
        memory_bytes: 1,
        created: Time(START_MS),
        desired: Desired::Run,
    }
}

/// The same, seen in a phase.
async fn show_unit(platform: &Platform, release: u32, phase: Phase) {
    let unit = unit(release);
    let status = UnitStatus {
        published: None,
        phase,
        address: None,
        restarts: 0,
        since: Time(START_MS),
        trouble: None,
    };
    platform
        .edit_view(|view| {
            let snapshot = Arc::make_mut(&mut view.snapshot);
            snapshot.statuses.insert(unit.id.clone(), status);
            snapshot.units.insert(unit.id.clone(), Versioned { value: unit, revision: 1 });
        })
        .await;
}

#[tokio::test]
async fn a_rollout_is_followed_to_its_end() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.deploy("olga", "shop", "c1", &["web"]).await;
    let body = json!({"set": {"A": "1"}});
    let change = platform.call(&olga, "PATCH", "/v1/apps/shop/config", body).await.ok(202);
    let path = format!("/v1/apps/shop/rollout?generation={}", change["generation"]);
    let mut events = Events::open(&platform, &olga, &path).await;
    show_unit(&platform, 2, Phase::Running).await;
    let progress = |text: &str| json!({"event": "progress", "text": text});
    assert_eq!(events.next().await.unwrap(), progress("web.1 is starting on node1"));
    show_unit(&platform, 2, Phase::Running).await;
    show_unit(&platform, 2, Phase::Ready).await;
    assert_eq!(events.next().await.unwrap(), progress("web.1 is ready"));
    platform.settle("shop", Outcome::Live).await;
    let rest = events.rest().await;
    assert_eq!(rest, [json!({"event": "live", "release": "v2"})]);

    let again = Events::open(&platform, &olga, &path).await.rest().await;
    assert_eq!(again.last().unwrap()["event"], "live", "it may be asked again");
    let latest = Events::open(&platform, &olga, "/v1/apps/shop/rollout").await.rest().await;
    assert_eq!(latest.last().unwrap()["event"], "live");
    let unborn = platform.get(&olga, "/v1/apps/shop/rollout?generation=99").await;
    unborn.problem(Code::Invalid);
}

#[tokio::test]
async fn a_failed_rollout_tells_why_even_without_a_view() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let body = json!({"set": {"A": "1"}});
    platform.call(&olga, "PATCH", "/v1/apps/shop/config", body).await.ok(202);
    let events = Events::open(&platform, &olga, "/v1/apps/shop/rollout?generation=1").await;
    platform.settle("shop", crashed()).await;
    let all = events.rest().await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (&all[0]["event"], &all[0]["problem"]["code"]),
        (&json!("failed"), &json!("crashed"))
    );
    assert_eq!(all[0]["problem"]["details"], json!(["boom"]));
}

#[tokio::test]
async fn a_destroyed_apps_followers_hear_its_end() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let waiting = Events::open(&platform, &olga, "/v1/apps/shop/rollout?generation=0");
    assert_eq!(waiting.await.rest().await, [json!({"event": "live", "release": null})]);
    let path = "/v1/apps/shop?confirm=shop";
    let change = platform.call(&olga, "DELETE", path, Value::Null).await.ok(202);
    let path = format!("/v1/apps/shop/rollout?generation={}", change["generation"]);
    let events = Events::open(&platform, &olga, &path).await;
    let app = platform.app("shop").await;
    let write = controller::records::Write::new().delete(&app.value, app.revision);
    platform.context.records.commit(write).await.unwrap();
    platform.look().await;
    assert_eq!(events.rest().await, [json!({"event": "live", "release": null})]);
    platform.get(&olga, &path).await.problem(Code::NotFound);
}

#[tokio::test]
async fn an_app_made_anew_does_not_end_the_story_of_the_old_one() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    let path = "/v1/apps/shop?confirm=shop";
    platform.call(&olga, "DELETE", path, Value::Null).await.ok(202);
    let mut events = Events::open(&platform, &olga, "/v1/apps/shop/rollout").await;
    let app = platform.app("shop").await;
    let mut anew = app.value.clone();
    anew.destroyed = None;
    anew.created = Time(START_MS + 5_000);
    anew.settled.generation = anew.generation;
    anew.settled.outcome = crashed();
    let write = controller::records::Write::new().replace(&anew, app.revision);
    platform.context.records.commit(write).await.unwrap();
    platform.look().await;
    assert_eq!(events.next().await.unwrap(), json!({"event": "live", "release": null}));
}

/// A logger that remembers what it was asked.
#[derive(Clone, Default)]
struct FakeLogger {
    said: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Option<ReadRequest>>>,
}

#[tonic::async_trait]
impl Logger for FakeLogger {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendAnswer>, Status> {
        let lines = request.into_inner().lines.into_iter();
        let said =
            lines.map(|line| format!("{} {}", line.app, String::from_utf8(line.text).unwrap()));
        self.said.lock().unwrap().extend(said);
        Ok(Response::new(AppendAnswer {}))
    }

    type ReadStream = BoxStream<'static, Result<LineBatch, Status>>;

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        *self.asked.lock().unwrap() = Some(request.into_inner());
        let line = |text: &[u8]| Line {
            app: "shop".to_owned(),
            process: "web.1".to_owned(),
            at_ms: START_MS,
            stream: "stdout".to_owned(),
            text: text.to_vec(),
            id: 0,
        };
        let lines = vec![line(b"one"), line(b"\xff two")];
        let batch = LineBatch { lines, dropped: 3, caught_up: false };
        let broken = Status::internal("disk");
        Ok(Response::new(futures_util::stream::iter([Ok(batch), Err(broken)]).boxed()))
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
        Err(Status::unimplemented("no copies here"))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Result<Response<ForgetAnswer>, Status> {
        Ok(Response::new(ForgetAnswer {}))
    }
}

async fn with_logger() -> (Platform, FakeLogger) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let platform = Platform::with_logger(&listener.local_addr().unwrap().to_string()).await;
    let logger = FakeLogger::default();
    let server = tonic::transport::Server::builder().add_service(LoggerServer::new(logger.clone()));
    tokio::spawn(server.serve_with_incoming(platform.identity("logger").incoming(listener)));
    (platform, logger)
}

#[tokio::test]
async fn lines_are_streamed_and_a_break_is_told() {
    let (platform, logger) = with_logger().await;
    let olga = platform.with_shop().await;
    let path = "/v1/apps/shop/logs?lines=5&process=web.1&since=2030-01-01T00:00:00Z";
    let all = Events::open(&platform, &olga, path).await.rest().await;
    let asked = logger.asked.lock().unwrap().clone().unwrap();
    assert_eq!((asked.app.as_str(), asked.lines, asked.follow), ("shop", 5, false));
    assert_eq!((asked.process.as_str(), asked.since_ms), ("web.1", START_MS));
    assert_eq!(all[0]["text"], "3 lines were left out: the reader was too slow");
    let one = json!({"at": "2030-01-01T00:00:00Z", "process": "web.1", "stream": "stdout", "text": "one"});
    assert_eq!(all[1], one);
    assert_eq!(all[2]["text"], "\u{fffd} two");
    assert_eq!(all[3]["text"], "lines of node n1 are missing: its log broke off");
    assert_eq!(all.len(), 4);
    for bad in ["lines=0", "lines=10001", "process=a%20b", "since=yesterday"] {
        platform.get(&olga, &format!("/v1/apps/shop/logs?{bad}")).await.problem(Code::Invalid);
    }
}

#[tokio::test]
async fn what_happens_to_an_app_is_said_in_its_log_without_values() {
    let (platform, logger) = with_logger().await;
    let olga = platform.with_shop().await;
    let body = json!({"set": {"SECRET": "s3cret"}});
    platform.call(&olga, "PATCH", "/v1/apps/shop/config", body).await.ok(202);
    platform.settle("shop", Outcome::Live).await;
    platform.deploy("olga", "shop", "c0ffee00d", &["web"]).await;
    platform
        .call(&olga, "POST", "/v1/apps/shop/scale", json!({"counts": {"web": 2}}))
        .await
        .ok(202);
    let expected = [
        "shop created by olga",
        "shop release v1 by olga: set SECRET",
        "shop release v2 by olga: deploy c0ffee00",
        "shop scaled to web=2 by olga",
    ];
    let said = async {
        while logger.said.lock().unwrap().len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap();
    assert_eq!(*logger.said.lock().unwrap(), expected);
}

#[tokio::test]
async fn without_a_logger_only_logs_are_unavailable() {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.get(&olga, "/v1/apps/shop/logs").await.problem(Code::Unavailable);
    platform.get(&olga, "/v1/apps/shop").await.ok(200);
}

/// An agent whose command repeats its input, then exits with 7; `refuse` and `hang` do as they say.
#[derive(Clone, Default)]
struct FakeAgent {
    started: Arc<Mutex<Option<proto::agent::RunStart>>>,
    resized: Arc<Mutex<Vec<u32>>>,
    dropped: Arc<tokio::sync::Notify>,
    removed: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl Agent for FakeAgent {
    type RunStream = BoxStream<'static, Result<RunOutput, Status>>;

    async fn remove_volume(
        &self,
        request: Request<RemoveVolumeRequest>,
    ) -> Result<Response<RemoveVolumeAnswer>, Status> {
        self.removed.lock().unwrap().push(request.into_inner().volume);
        Ok(Response::new(RemoveVolumeAnswer {}))
    }

    async fn run(
        &self,
        request: Request<Streaming<RunInput>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let mut inputs = request.into_inner();
        let Some(Input::Start(start)) = inputs.message().await?.and_then(|first| first.input)
        else {
            return Err(Status::invalid_argument("no start"));
        };
        *self.started.lock().unwrap() = Some(start.clone());
        let agent = self.clone();
        let (outputs, queue) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let say = async |output| {
                let _ = outputs.send(Ok(RunOutput { output: Some(output) })).await;
            };
            say(Output::Started(true)).await;
            match start.command[0].as_str() {
                "refuse" => {
                    let problem = Problem::new(Code::NoRoom, "the node is full");
                    return say(Output::ProblemJson(problem.to_json())).await;
                }
                "hang" => {
                    while let Ok(Some(_)) = inputs.message().await {}
                    return agent.dropped.notify_one();
                }
                _ => {}
            }
            while let Ok(Some(input)) = inputs.message().await {
                match input.input {
                    Some(Input::Stdin(bytes)) => {
                        say(Output::Stdout(bytes.clone())).await;
                        say(Output::Stderr(b"got it".to_vec())).await;
                    }
                    Some(Input::Resize(size)) => agent.resized.lock().unwrap().push(size.columns),
                    Some(Input::StdinClosed(_)) => break,
                    Some(Input::Start(_)) | None => {}
                }
            }
            say(Output::Exit(7)).await;
        });
        Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(queue).boxed()))
    }
}

async fn with_agent() -> (Platform, FakeAgent, String) {
    let platform = Platform::start().await;
    let olga = platform.with_shop().await;
    platform.call(&olga, "PATCH", "/v1/apps/shop/config", json!({"set": {"A": "1"}})).await.ok(202);
    platform.settle("shop", Outcome::Live).await;
    platform.deploy("olga", "shop", "c1", &["web"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let agent = FakeAgent::default();
    let server = tonic::transport::Server::builder().add_service(AgentServer::new(agent.clone()));
    tokio::spawn(server.serve_with_incoming(platform.identity("agent").incoming(listener)));
    show_node(&platform, &address, 1 << 30).await;
    (platform, agent, olga)
}

async fn show_node(platform: &Platform, address: &str, memory_bytes: u64) {
    let node = Node {
        name: "node1".parse().unwrap(),
        addresses: Addresses { agent: address.to_owned(), ..Addresses::default() },
        sights: std::collections::BTreeMap::new(),
        left_running: std::collections::BTreeMap::new(),
        memory_bytes,
        sessions_bytes: 0,
        cpu_millis: 1000,
        disk_free_bytes: 1,
        version: String::new(),
        clock_ahead_ms: 0,
        trouble: None,
        heard: Time(START_MS),
    };
    platform
        .edit_view(|view| {
            Arc::make_mut(&mut view.snapshot).nodes.insert(node.name.clone(), node);
        })
        .await;
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(platform: &Platform, token: &str, first: Value) -> Socket {
    let url = format!("ws://{}/v1/apps/shop/run", platform.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text(first.to_string())).await.unwrap();
    socket
}

/// The next frame that is not a ping.
async fn next(socket: &mut Socket) -> Message {
    loop {
        let message =
            tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if !message.is_ping() && !message.is_pong() {
            return message;
        }
    }
}

async fn end(socket: &mut Socket) -> Value {
    serde_json::from_str(next(socket).await.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_command_gets_its_bytes_its_environment_and_gives_its_exit_code() {
    let (platform, agent, olga) = with_agent().await;
    let first = json!({"command": ["echo", "a b"], "tty": true, "rows": 2, "columns": 80, "env": {"B": "2"}});
    let mut socket = connect(&platform, &olga, first).await;
    socket.send(Message::binary(vec![0, 255, 10])).await.unwrap();
    assert_eq!(next(&mut socket).await.into_data().as_ref(), [1, 0, 255, 10]);
    assert_eq!(next(&mut socket).await.into_data().as_ref(), b"\x02got it");
    let resize = json!({"control": "resize", "rows": 3, "columns": 132}).to_string();
    socket.send(Message::text(resize)).await.unwrap();
    socket.send(Message::text(r#"{"control":"close_stdin"}"#)).await.unwrap();
    assert_eq!(end(&mut socket).await, json!({"end": "exit", "code": 7}));
    assert_eq!(*agent.resized.lock().unwrap(), [132]);
    let start = agent.started.lock().unwrap().clone().unwrap();
    assert_eq!(
        (start.app.as_str(), start.image.as_str()),
        ("shop", "127.0.0.1:5000/shop@sha256:c1")
    );
    assert_eq!(start.command, ["echo", "a b"]);
    let env = |key: &str| start.env[key].as_str();
    assert_eq!((env("A"), env("B"), env("PORT"), env("TRIREME_RELEASE")), ("1", "2", "5000", "v2"));
    assert_eq!(env("TRIREME_UNIT"), format!("run.{}", start.name));
    assert_eq!(start.memory_bytes, 512 << 20);
}

#[tokio::test]
async fn a_command_has_the_limits_of_its_app_and_needs_that_much_room() {
    let (platform, agent, olga) = with_agent().await;
    let limits = json!({"limits": {"web": {"memory": "768M", "cpu": "2"}, "run": {"cpu": "0.5"}}});
    platform.call(&olga, "PATCH", "/v1/apps/shop/limits", limits).await.ok(202);
    platform.settle("shop", Outcome::Live).await;
    let first = json!({"command": ["echo"], "detach": true});
    agent_name(&agent, &mut connect(&platform, &olga, first.clone()).await).await;
    let start = agent.started.lock().unwrap().clone().unwrap();
    assert_eq!((start.memory_bytes, start.cpu_millis), (768 << 20, 500));

    let hold = |bytes: u64| {
        platform.edit_view(move |view| {
            let nodes = &mut Arc::make_mut(&mut view.snapshot).nodes;
            nodes.values_mut().for_each(|node| node.sessions_bytes = bytes);
        })
    };
    hold(300 << 20).await;
    let refused = end(&mut connect(&platform, &olga, first).await).await;
    assert_eq!(refused["problem"]["code"], "no-room");
}

#[tokio::test]
async fn a_detached_command_is_started_and_named_however_long_nothing_happened() {
    let (platform, agent, olga) = with_agent().await;
    // An idle cluster's view is as old as its last change.
    platform.clock.advance(Duration::from_secs(9));
    let mut socket = connect(&platform, &olga, json!({"command": ["echo"], "detach": true})).await;
    let name = format!("run.{}", agent_name(&agent, &mut socket).await);
    assert!(name.len() > 4);
}

async fn agent_name(agent: &FakeAgent, socket: &mut Socket) -> String {
    let end = end(socket).await;
    let start = agent.started.lock().unwrap().clone().unwrap();
    assert_eq!(end, json!({"end": "detached", "name": format!("run.{}", start.name)}));
    start.name
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_command() {
    let (platform, agent, olga) = with_agent().await;
    let socket = connect(&platform, &olga, json!({"command": ["hang"]})).await;
    let started = async {
        while agent.started.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, started).await.unwrap();
    drop(socket);
    tokio::time::timeout(PATIENCE, agent.dropped.notified()).await.unwrap();
}

#[tokio::test]
async fn a_run_that_cannot_be_is_refused_with_its_reason() {
    let (platform, agent, olga) = with_agent().await;
    let code = async |first: Value| {
        let end = end(&mut connect(&platform, &olga, first).await).await;
        assert_eq!(end["end"], "problem");
        end["problem"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code(json!({"command": []})).await, "invalid");
    assert_eq!(code(json!({"command": [""]})).await, "invalid");
    assert_eq!(code(json!({"command": ["a\u{0}b"]})).await, "invalid");
    assert_eq!(code(json!({"command": ["x"], "env": {"PORT": "1"}})).await, "invalid");
    assert_eq!(code(json!("x")).await, "invalid");
    assert!(agent.started.lock().unwrap().is_none());
    assert_eq!(code(json!({"command": ["refuse"]})).await, "no-room");
    show_node(&platform, "127.0.0.1:9", 1 << 30).await;
    assert_eq!(code(json!({"command": ["x"]})).await, "unavailable");
    show_node(&platform, "127.0.0.1:9", 1 << 20).await;
    assert_eq!(code(json!({"command": ["x"]})).await, "no-room");
    platform.clock.advance(Duration::from_secs(60));
    assert_eq!(code(json!({"command": ["x"]})).await, "no-room");
}

#[tokio::test]
async fn the_data_of_a_destroyed_volume_goes_when_no_unit_has_it_any_more() {
    let (platform, agent, _) = with_agent().await;
    let records = &platform.context.records;
    let addresses =
        platform.context.view.borrow().snapshot.nodes.values().next().unwrap().addresses.clone();
    let spec = NodeSpec {
        name: "node1".parse().unwrap(),
        addresses: addresses.clone(),
        labels: BTreeMap::new(),
        duty: Duty::Open,
        joined: Time(0),
        admission: String::new(),
    };
    let doomed = |id: &str, node: &str| Doomed {
        id: id.parse().unwrap(),
        node: node.parse().unwrap(),
        app: "shop".parse().unwrap(),
    };
    let all = [doomed("used", "node1"), doomed("unused", "node1"), doomed("far", "removed")];
    for volume in &all {
        records.commit(Write::new().create(volume)).await.unwrap();
    }
    let mut user = unit(1);
    user.mounts.insert("/data".parse().unwrap(), "used".parse().unwrap());
    let mut snapshot = Snapshot::default();
    for volume in records.all::<Doomed>().await.unwrap() {
        snapshot.doomed.insert(volume.value.id.clone(), volume);
    }
    let own = Member { name: spec.name.clone(), addresses };
    snapshot.specs.insert(spec.name.clone(), Versioned { value: spec, revision: 1 });
    snapshot.units.insert(user.id.clone(), Versioned { value: user, revision: 1 });

    let tasks = Tasks::new(Stop::new());
    let volumes = Volumes::new(Reach::new(platform.identity("controller"), own), records.clone());
    volumes.follow(&Arc::new(snapshot), &tasks);
    let settled = async {
        while records.all::<Doomed>().await.unwrap().len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
    assert_eq!(records.all::<Doomed>().await.unwrap()[0].value, all[0]);
    assert_eq!(*agent.removed.lock().unwrap(), ["unused"]);
}
