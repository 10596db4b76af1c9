//! A controller's API on a loopback port, a client, and a hand that plays the planner.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use controller::Context;
use controller::api;
use controller::gateway::builds::Builds;
use controller::logs::Logs;
use controller::reach::Reach;
use controller::records::{Records, Write};
use controller::seal::Seal;
use controller::view::View;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use model::app::{App, Outcome, Settled};
use model::name::{AppName, ProcessType};
use model::node::{Addresses, Member};
use model::release::{Build, Command, Release, ReleaseState};
use model::snapshot::{Snapshot, Versioned};
use proto::problem::{Code, Problem};
use serde_json::{Value, json};
use service::{Authority, Identity, ManualClock, Stop, Subject, Tasks, Wake};
use store::MemoryStore;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Every test's clock starts here: 2030-01-01.
pub const START_MS: u64 = 1_893_456_000_000;
/// How long something that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running API and all a test needs to play with it.
pub struct Platform {
    pub context: Context,
    pub clock: ManualClock,
    pub authority: Authority,
    pub builds: Builds,
    pub address: String,
    view: watch::Sender<View>,
    http: Client<HttpConnector, Full<Bytes>>,
    folder: tempfile::TempDir,
    _tasks: Tasks,
}

/// An answer, read whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Platform {
    /// With no logger to be reached.
    pub async fn start() -> Platform {
        Platform::with_logger("127.0.0.1:9").await
    }

    pub async fn with_logger(logger: &str) -> Platform {
        Platform::with(logger, Arc::new(MemoryStore::new())).await
    }

    pub async fn with(logger: &str, store: Arc<dyn store::Store>) -> Platform {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let identity = issue(&authority, folder.path(), "controller");
        let clock = ManualClock::new(START_MS);
        let tasks = Tasks::new(Stop::new());
        let (view, receiver) = watch::channel(View::default());
        let addresses = Addresses { logger: logger.to_owned(), ..Addresses::default() };
        let own = Member { name: "n1".parse().unwrap(), addresses };
        let reach = Reach::new(identity.clone(), own);
        let logs = Logs::start(reach, receiver.clone(), clock.clock(), &tasks).unwrap();
        let context = Context {
            records: Records::new(store),
            seal: Arc::new(Seal::new(&[7; 32])),
            view: receiver,
            wake: Wake::new(),
            clock: clock.clock(),
            identity,
            platform: Arc::new(controller::platform::Platform {
                version: "0.0.0".to_owned(),
                domain: "apps.localhost".to_owned(),
                git_remote_base: "ssh://git@localhost:2222".to_owned(),
                http_port: 80,
                https_port: 443,
                logger: logger.to_owned(),
                default_memory_bytes: 512 << 20,
                reserve: controller::platform::Reserve::Refuse,
            }),
            logs,
            members: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = api::router(context.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = Client::builder(TokioExecutor::new()).build_http();
        let builds = Builds::new(context.clone());
        Platform { context, clock, authority, builds, address, view, http, folder, _tasks: tasks }
    }

    /// An identity of a role, of the same authority.
    pub fn identity(&self, role: &str) -> Identity {
        issue(&self.authority, self.folder.path(), role)
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        self.http.request(request).await.unwrap()
    }

    pub fn request(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Full::new(body.into())).unwrap()
    }

    /// A request with a JSON body, answered whole.
    pub async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        let response = self.send(self.request(token, method, path, bytes)).await;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, "GET", path, Value::Null).await
    }

    /// Makes a user and gives a token. The first one is the administrator.
    pub async fn register(&self, name: &str) -> String {
        let setting = self.context.records.all::<model::account::User>().await.unwrap();
        let admin = match setting.is_empty() {
            true => String::new(),
            false => self.store_token("root", model::account::Scope::Full).await,
        };
        let body = json!({"username": name, "password": "correct horse"});
        let answer = self.call(&admin, "POST", "/v1/auth/register", body).await;
        answer.ok(201)["token"].as_str().unwrap().to_owned()
    }

    /// A token straight into the store.
    pub async fn store_token(&self, user: &str, scope: model::account::Scope) -> String {
        let secret = controller::accounts::secret::new_secret();
        let token = model::account::Token {
            id: controller::accounts::secret::new_id(),
            user: user.parse().unwrap(),
            label: "test".to_owned(),
            secret_hash: controller::accounts::secret::hash(&secret),
            scope,
            created: model::time::Time(START_MS),
            expires: None,
        };
        self.context.records.commit(Write::new().create(&token)).await.unwrap();
        secret
    }

    /// An administrator `root` and an owner `olga` with the app `shop`. Olga's token.
    pub async fn with_shop(&self) -> String {
        self.register("root").await;
        let olga = self.register("olga").await;
        self.call(&olga, "POST", "/v1/apps", json!({"name": "shop"})).await.ok(201);
        olga
    }

    pub async fn app(&self, name: &str) -> Versioned<App> {
        let name: AppName = name.parse().unwrap();
        self.context.records.app(&name).await.unwrap().unwrap()
    }

    /// Ends the change in hand as the leader would.
    pub async fn settle(&self, name: &str, outcome: Outcome) {
        let mut app = self.app(name).await;
        let mut write = Write::new();
        if let Some(deploy) = app.value.target.take() {
            let release =
                self.context.records.release(&app.value.name, deploy.release).await.unwrap();
            let mut release = release.unwrap();
            release.value.state = match &outcome {
                Outcome::Live => {
                    app.value.current = Some(deploy.release);
                    ReleaseState::Succeeded
                }
                Outcome::Failed { reason, .. } => ReleaseState::Failed { reason: reason.clone() },
            };
            write = write.replace(&release.value, release.revision);
        }
        app.value.settled = Settled { generation: app.value.generation, outcome };
        self.context.records.commit(write.replace(&app.value, app.revision)).await.unwrap();
        self.look().await;
    }

    /// Puts what is stored into the view.
    pub async fn look(&self) {
        self.edit_view(|_| {}).await;
    }

    /// The same, with what agents and planners would add.
    pub async fn edit_view(&self, edit: impl FnOnce(&mut View)) {
        let mut snapshot = Snapshot::clone(&self.view.borrow().snapshot);
        snapshot.apps = self
            .context
            .records
            .all::<App>()
            .await
            .unwrap()
            .into_iter()
            .map(|app| (app.value.name.clone(), app))
            .collect();
        snapshot.releases = self
            .context
            .records
            .all::<Release>()
            .await
            .unwrap()
            .into_iter()
            .map(|release| ((release.value.app.clone(), release.value.number), release))
            .collect();
        let mut view = View {
            lead: Some(controller::view::Lead { epoch: 1, only: None }),
            snapshot: Arc::new(snapshot),
            as_of: model::time::Time(self.context.clock.now_ms()),
            waiting: Arc::default(),
            is_warm: true,
        };
        edit(&mut view);
        self.view.send_replace(view);
    }

    /// Deploys a build with these types and settles it.
    pub async fn deploy(&self, user: &str, app: &str, commit: &str, types: &[&str]) {
        use proto::gateway::{BeginBuildRequest, FinishBuildRequest};
        let begin = BeginBuildRequest {
            user: user.to_owned(),
            app: app.to_owned(),
            git_ref: "refs/heads/master".to_owned(),
            commit: commit.to_owned(),
            build_id: commit.to_owned(),
        };
        self.builds.begin_build(begin).await.unwrap();
        let finish = FinishBuildRequest {
            app: app.to_owned(),
            build_id: commit.to_owned(),
            user: user.to_owned(),
            build_json: serde_json::to_string(&build(app, commit, types)).unwrap(),
        };
        let mut events = self.builds.finish_build(finish).await.unwrap();
        futures_util::StreamExt::next(&mut events).await.unwrap().unwrap();
        self.settle(app, Outcome::Live).await;
    }
}

fn issue(authority: &Authority, folder: &std::path::Path, role: &str) -> Identity {
    let ips = vec!["127.0.0.1".parse().unwrap()];
    let subject = Subject { role, node: "node1", dns: Vec::new(), ips };
    let folder = folder.join(role);
    authority.issue(&subject, 7).unwrap().write(&folder, authority.ca_pem()).unwrap();
    Identity::load(&folder).unwrap()
}

/// A build with these types.
pub fn build(app: &str, commit: &str, types: &[&str]) -> Build {
    let processes = types.iter().map(|process| {
        let line = format!("serve {process}");
        let command = Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), line]);
        (process.parse::<ProcessType>().unwrap(), Some(command))
    });
    Build {
        image: format!("127.0.0.1:5000/{app}@sha256:{commit}"),
        commit: Some(commit.to_owned()),
        processes: processes.collect(),
        exposed_port: None,
    }
}

/// How a deploy ends that went wrong.
pub fn crashed() -> Outcome {
    Outcome::Failed {
        code: "crashed".to_owned(),
        reason: "web.1 exited with code 1".to_owned(),
        last_lines: vec!["boom".to_owned()],
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, the status being this one.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }

    /// The problem, the code being this one. Every problem has its code's status, a message, and the request's id.
    #[track_caller]
    pub fn problem(&self, code: Code) -> Problem {
        let problem: Problem = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()));
        assert_eq!(problem.code, code, "{problem}");
        assert_eq!(self.status.as_u16(), code.status());
        assert!(!problem.message.is_empty());
        assert_eq!(self.headers["x-request-id"].to_str().unwrap(), problem.request_id);
        problem
    }
}
