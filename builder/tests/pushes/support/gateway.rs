//! A controller and a logger that remember what they were asked.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::Stream;
use proto::{
    gateway::{
        AuthorizeAnswer, AuthorizeRequest, BeginBuildAnswer, BeginBuildRequest, BuildRef,
        BuildTicket, DeployEvent, DeployLive, Empty, FinishBuildRequest, IdentifyAnswer,
        IdentifyRequest, KeepHistoryRequest,
        begin_build_answer::Answer,
        deploy_event::Event,
        gateway_server::{self, GatewayServer},
    },
    logger::{
        AppendAnswer, AppendRequest, ForgetAnswer, ForgetRequest, LineBatch, ReadRequest,
        logger_server::{self, LoggerServer},
    },
    problem::{Code, Problem},
};
use service::{Identity, peer};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::Server};

#[derive(Default)]
pub struct Gateway(Mutex<State>);

#[derive(Default)]
pub struct State {
    /// Fingerprint to user.
    pub keys: HashMap<String, String>,
    /// Apps that exist, with the user who may push.
    pub apps: HashMap<String, App>,
    /// Calls in order: "begin shop", "keep shop", "abandon shop", "finish shop".
    pub calls: Vec<String>,
    /// JSON of every build that was finished.
    pub builds: Vec<String>,
    /// Lines the log got.
    pub lines: Vec<String>,
    /// What the next rollout comes to; none means live.
    pub rollout: Option<Problem>,
    /// The lock is lost at the next keep.
    pub lose_lock: bool,
}

#[derive(Default, Clone)]
pub struct App {
    pub user: String,
    pub created_ms: u64,
    pub lock: Option<String>,
    pub current: Option<(u32, String)>,
    pub history: String,
}

impl Gateway {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn app(&self, name: &str, user: &str) {
        let app = App { user: user.to_owned(), created_ms: 1, ..App::default() };
        self.state().apps.insert(name.to_owned(), app);
    }

    pub fn called(&self, call: &str) -> usize {
        self.state().calls.iter().filter(|made| *made == call).count()
    }

    pub fn lock_of(&self, app: &str) -> Option<String> {
        self.state().apps[app].lock.clone()
    }

    pub fn last_build(&self) -> model::release::Build {
        serde_json::from_str(self.state().builds.last().expect("a build")).unwrap()
    }
}

pub async fn serve(gateway: Arc<Gateway>, identity: &Identity) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(GatewayServer::new(Service(gateway)));
    tokio::spawn(server.serve_with_incoming(identity.incoming(listener)));
    address
}

pub async fn serve_logger(gateway: Arc<Gateway>, identity: &Identity) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(LoggerServer::new(Service(gateway)));
    tokio::spawn(server.serve_with_incoming(identity.incoming(listener)));
    address
}

struct Service(Arc<Gateway>);

impl Service {
    /// The refusal of a user at an app, if there is one.
    fn refusal(state: &State, user: &str, app: &str) -> Option<Problem> {
        match state.apps.get(app) {
            None => Some(
                Problem::new(Code::NotFound, format!("there is no app `{app}`"))
                    .hint("`paasctl apps:create` makes one"),
            ),
            Some(found) if found.user != user => {
                Some(Problem::new(Code::Forbidden, format!("you may not push to `{app}`")))
            }
            Some(_) => None,
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<DeployEvent, Status>> + Send>>;

#[tonic::async_trait]
impl gateway_server::Gateway for Service {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyAnswer>, Status> {
        peer(&request)?.require_role(&["builder"])?;
        let state = self.0.state();
        let user = state.keys.get(&request.get_ref().fingerprint).cloned().unwrap_or_default();
        Ok(Response::new(IdentifyAnswer { user }))
    }

    async fn authorize(
        &self,
        request: Request<AuthorizeRequest>,
    ) -> Result<Response<AuthorizeAnswer>, Status> {
        let (state, request) = (self.0.state(), request.into_inner());
        let answer = match Service::refusal(&state, &request.user, &request.app) {
            Some(problem) => {
                AuthorizeAnswer { problem_json: problem.to_json(), ..AuthorizeAnswer::default() }
            }
            None => AuthorizeAnswer {
                problem_json: String::new(),
                app_created_ms: state.apps[&request.app].created_ms,
                history: state.apps[&request.app].history.clone(),
            },
        };
        Ok(Response::new(answer))
    }

    async fn begin_build(
        &self,
        request: Request<BeginBuildRequest>,
    ) -> Result<Response<BeginBuildAnswer>, Status> {
        let (mut state, request) = (self.0.state(), request.into_inner());
        state.calls.push(format!("begin {}", request.app));
        let problem = |problem: Problem| Answer::ProblemJson(problem.to_json());
        let answer = if let Some(refusal) = Service::refusal(&state, &request.user, &request.app) {
            problem(refusal)
        } else if !["refs/heads/master", "refs/heads/main"].contains(&request.git_ref.as_str()) {
            problem(Problem::new(Code::WrongBranch, "only `master` and `main` deploy"))
        } else {
            let app = state.apps.get_mut(&request.app).unwrap();
            match (&app.lock, &app.current) {
                (Some(_), _) => problem(Problem::new(Code::Busy, "a deploy is under way")),
                (None, Some((number, commit))) if *commit == request.commit => {
                    Answer::AlreadyDeployed(*number)
                }
                (None, _) => {
                    app.lock = Some(request.build_id.clone());
                    let config = [("SECRET".to_owned(), "hidden".to_owned())].into();
                    Answer::Ticket(BuildTicket { build_id: request.build_id, config })
                }
            }
        };
        Ok(Response::new(BeginBuildAnswer { answer: Some(answer) }))
    }

    async fn keep_build(&self, request: Request<BuildRef>) -> Result<Response<Empty>, Status> {
        let (mut state, request) = (self.0.state(), request.into_inner());
        state.calls.push(format!("keep {}", request.app));
        if state.lose_lock || state.apps[&request.app].lock != Some(request.build_id) {
            return Err(Status::failed_precondition("the lock is lost"));
        }
        Ok(Response::new(Empty {}))
    }

    async fn abandon_build(&self, request: Request<BuildRef>) -> Result<Response<Empty>, Status> {
        let (mut state, request) = (self.0.state(), request.into_inner());
        state.calls.push(format!("abandon {}", request.app));
        if let Some(app) = state.apps.get_mut(&request.app)
            && app.lock == Some(request.build_id)
        {
            app.lock = None;
        }
        Ok(Response::new(Empty {}))
    }

    async fn keep_history(
        &self,
        request: Request<KeepHistoryRequest>,
    ) -> Result<Response<Empty>, Status> {
        let (mut state, request) = (self.0.state(), request.into_inner());
        let app = state.apps.get_mut(&request.app).filter(|app| {
            (app.history.as_str(), app.created_ms)
                == (request.before.as_str(), request.app_created_ms)
        });
        let app = app.ok_or_else(|| Status::failed_precondition("kept elsewhere"))?;
        app.history = request.history;
        Ok(Response::new(Empty {}))
    }

    async fn finish_build(
        &self,
        request: Request<FinishBuildRequest>,
    ) -> Result<Response<Events>, Status> {
        let (mut state, request) = (self.0.state(), request.into_inner());
        state.calls.push(format!("finish {}", request.app));
        let rollout = state.rollout.take();
        let build: model::release::Build = serde_json::from_str(&request.build_json).unwrap();
        state.builds.push(request.build_json);
        let app = state.apps.get_mut(&request.app).unwrap();
        if app.lock.take() != Some(request.build_id) {
            return Err(Status::failed_precondition("the lock is lost"));
        }
        let end = match rollout {
            Some(problem) => Event::ProblemJson(problem.to_json()),
            None => {
                let release = app.current.as_ref().map_or(1, |(number, _)| number + 1);
                app.current = Some((release, build.commit.unwrap()));
                let url = format!("http://{}.apps.localhost", request.app);
                Event::Live(DeployLive { release, url, no_url: false })
            }
        };
        let events = [Event::Progress("web.1 is ready".to_owned()), end];
        let events = events.map(|event| Ok(DeployEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }
}

#[tonic::async_trait]
impl logger_server::Logger for Service {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<LineBatch, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendAnswer>, Status> {
        peer(&request)?.require_role(&["builder"])?;
        let lines = request.into_inner().lines;
        let text = lines.iter().map(|line| {
            format!("{} {} {}", line.app, line.process, String::from_utf8_lossy(&line.text))
        });
        self.0.state().lines.extend(text);
        Ok(Response::new(AppendAnswer {}))
    }

    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("not for builders"))
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

    async fn forget(&self, _: Request<ForgetRequest>) -> Result<Response<ForgetAnswer>, Status> {
        Err(Status::unimplemented("not for builders"))
    }
}
