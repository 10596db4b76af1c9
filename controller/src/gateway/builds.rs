//! What builders ask: whose key, may they push, the build lock, and a release of a finished build.
//!
//! The caller's role was checked before. A user's name in a request is what `identify` answered for
//! the key that opened the session; whether that user may, is asked anew at every step.

mod finish;
mod locks;

use futures_util::stream::BoxStream;
use model::account::{Actor, Denied, Resource, Right, Scope, SshKey, User, authorize};
use model::app::App;
use model::name::{AppName, Username};
use model::snapshot::Versioned;
use proto::gateway::begin_build_answer::Answer;
use proto::gateway::{
    AuthorizeAnswer, AuthorizeRequest, BeginBuildAnswer, BeginBuildRequest, BuildRef, BuildTicket,
    DeployEvent, Empty, FinishBuildRequest, IdentifyAnswer, IdentifyRequest, KeepHistoryRequest,
};
use proto::problem::{Code, Problem};
use service::Stop;
use tonic::Status;

pub use self::locks::BuildLock;
use self::locks::{LockError, Locks};
use crate::Context;
use crate::api::{Failure, current_release, no_such_app, open_config};
use crate::history;
use crate::records::{Document, user_key};

/// The builders' side of the gateway. Cheap to clone.
#[derive(Clone)]
pub struct Builds {
    context: Context,
    locks: Locks,
}

impl Builds {
    /// No build under way.
    pub fn new(context: Context) -> Builds {
        let locks = Locks::new(context.records.clone(), context.clock.clone());
        Builds { context, locks }
    }

    /// Sees the locks of all controllers change, until `stop`.
    pub async fn follow_locks(self, stop: Stop) {
        self.locks.follow(stop).await;
    }

    /// Whose key it is.
    pub async fn identify(&self, request: IdentifyRequest) -> Result<IdentifyAnswer, Status> {
        let key = format!("{}{}", SshKey::PREFIX, request.fingerprint);
        if request.fingerprint.is_empty() {
            return Ok(IdentifyAnswer { user: String::new() });
        }
        let found = self.context.records.get::<SshKey>(&key).await.map_err(|error| {
            tracing::warn!(%error, "a key could not be looked up");
            Status::unavailable("the store does not answer")
        })?;
        let user = found.map(|key| key.value.user.to_string()).unwrap_or_default();
        Ok(IdentifyAnswer { user })
    }

    /// Whether a user may push to and fetch from an app.
    pub async fn authorize(&self, request: AuthorizeRequest) -> Result<AuthorizeAnswer, Status> {
        let permitted = async {
            let (app, _) = self.enter(&request.user, &request.app).await?;
            let (name, created) = (&app.value.name, app.value.created);
            let history = history::manifest(&self.context.records, name, created).await?;
            Ok::<_, Failure>((created, history))
        };
        Ok(match permitted.await.map_err(Failure::into_problem) {
            Ok((created, history)) => {
                AuthorizeAnswer { problem_json: String::new(), app_created_ms: created.0, history }
            }
            Err(problem) => {
                AuthorizeAnswer { problem_json: problem.to_json(), ..AuthorizeAnswer::default() }
            }
        })
    }

    /// Whether a build may begin; takes the app's lock.
    pub async fn begin_build(
        &self,
        request: BeginBuildRequest,
    ) -> Result<BeginBuildAnswer, Status> {
        let answer = match self.begin(request).await.map_err(Failure::into_problem) {
            Ok(answer) => answer,
            Err(problem) => Answer::ProblemJson(problem.to_json()),
        };
        Ok(BeginBuildAnswer { answer: Some(answer) })
    }

    async fn begin(&self, request: BeginBuildRequest) -> Result<Answer, Failure> {
        let (app, _) = self.enter(&request.user, &request.app).await?;
        let app = app.value;
        check_branch(&app, &request.git_ref)?;
        if let Some(deploy) = &app.target {
            return Err(busy(&app, &format!("{} is being rolled out", deploy.release)).into());
        }
        let current = current_release(&self.context, &app).await?;
        let serving = current.as_ref().filter(|release| {
            let commit = release.build.as_ref().and_then(|build| build.commit.as_ref());
            commit.is_some_and(|commit| *commit == request.commit)
        });
        if let Some(release) = serving {
            return Ok(Answer::AlreadyDeployed(release.number.0));
        }
        let config = open_config(&self.context.seal, current.as_ref())?;
        if !self.lock(&app.name, &request.build_id).await? {
            return Err(busy(&app, "another push is being built").into());
        }
        let config = config.into_iter().map(|(key, value)| (String::from(key), value));
        let build_id = request.build_id;
        Ok(Answer::Ticket(BuildTicket { build_id, config: config.collect() }))
    }

    /// Keeps the lock. One that nobody has is taken anew.
    pub async fn keep_build(&self, request: BuildRef) -> Result<Empty, Status> {
        let app = app_name(&request)?;
        match self.locks.take(&app, &request.build_id).await.map_err(unavailable)? {
            true => Ok(Empty {}),
            false => Err(Status::failed_precondition("another push holds the build lock")),
        }
    }

    /// Gives the lock up. One that is lost already is fine.
    pub async fn abandon_build(&self, request: BuildRef) -> Result<Empty, Status> {
        let released = self.locks.release(&app_name(&request)?, &request.build_id).await;
        released.map(|()| Empty {}).map_err(unavailable)
    }

    /// Where an app's git history is kept from now on.
    pub async fn keep_history(&self, request: KeepHistoryRequest) -> Result<Empty, Status> {
        history::keep(&self.context.records, request).await.map(|()| Empty {})
    }

    async fn lock(&self, app: &AppName, build_id: &str) -> Result<bool, Failure> {
        match self.locks.take(app, build_id).await {
            Ok(is_ours) => Ok(is_ours),
            Err(LockError::Read(error)) => Err(error.into()),
            Err(LockError::Write(error)) => Err(error.into()),
        }
    }

    /// Makes a release of a build and follows it to its end, which is the stream's last event. The
    /// rollout goes on when nobody listens.
    pub async fn finish_build(
        &self,
        request: FinishBuildRequest,
    ) -> Result<BoxStream<'static, Result<DeployEvent, Status>>, Status> {
        Ok(finish::events(self.clone(), request))
    }

    /// The app and the user, if the user may operate it. What may not be seen does not exist.
    async fn enter(&self, user: &str, app: &str) -> Result<(Versioned<App>, Username), Failure> {
        let records = &self.context.records;
        let name: Username = user.parse()?;
        let Some(user) = records.get::<User>(&user_key(&name)).await? else {
            return Err(Denied::LoginNeeded.into());
        };
        let found = match app.parse::<AppName>() {
            Ok(name) => records.app(&name).await?,
            Err(_) => None,
        };
        let is_admin = user.value.is_admin;
        let actor = Actor::User { name: name.clone(), is_admin, scope: Scope::Full };
        let visible = found.filter(|app| {
            app.value.destroyed.is_none()
                && authorize(&actor, Right::SeeApp, Resource::App(&app.value)).is_ok()
        });
        let app = visible.ok_or_else(|| no_such_app(app))?;
        authorize(&actor, Right::OperateApp, Resource::App(&app.value))?;
        Ok((app, name))
    }
}

fn app_name(request: &BuildRef) -> Result<AppName, Status> {
    request.app.parse().map_err(|_| Status::invalid_argument("the app's name is not valid"))
}

fn unavailable(error: LockError) -> Status {
    tracing::warn!(%error, "a build lock could not be read or written");
    Status::unavailable("the store does not answer")
}

fn busy(app: &App, why: &str) -> Problem {
    Problem::new(Code::Busy, format!("`{}` is busy: {why}", app.name))
        .hint("wait until it is done, then push again")
}

fn check_branch(app: &App, git_ref: &str) -> Result<(), Problem> {
    let branch = git_ref.strip_prefix("refs/heads/");
    if branch.is_some_and(|branch| app.deploys(branch)) {
        return Ok(());
    }
    let pushed: String = git_ref.chars().take(200).collect();
    let deploys = match &app.deploy_branch {
        Some(only) => format!("`{only}`"),
        None => "`master` or `main`".to_owned(),
    };
    let branch = app.deploy_branch.as_deref().unwrap_or("master");
    Err(Problem::new(Code::WrongBranch, format!("`{pushed}` does not deploy: {deploys} does"))
        .hint(format!("push it as the branch that deploys: `git push deis HEAD:{branch}`")))
}
