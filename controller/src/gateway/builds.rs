//! What builders ask: whose key, may they push, the build lock, and a release of a finished build.
//!
//! The caller's role was checked before. A user's name in a request is what `identify` answered for
//! the key that opened the session; whether that user may, is asked anew at every step.

mod finish;
mod locks;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use model::account::{Actor, Denied, Resource, Right, Scope, SshKey, User, authorize};
use model::app::App;
use model::name::{AppName, Username};
use model::snapshot::Versioned;
use proto::gateway::begin_build_answer::Answer;
use proto::gateway::{
    AuthorizeAnswer, AuthorizeRequest, BeginBuildAnswer, BeginBuildRequest, BuildRef, BuildTicket,
    DeployEvent, Empty, FinishBuildRequest, IdentifyAnswer, IdentifyRequest,
};
use proto::problem::{Code, Problem};
use tonic::Status;

use self::locks::Locks;
use crate::Context;
use crate::api::{Failure, current_release, no_such_app, open_config};
use crate::records::{Document, user_key};

/// The builders' side of the gateway. Cheap to clone; clones share the build locks.
#[derive(Clone)]
pub struct Builds {
    context: Context,
    locks: Arc<Locks>,
}

impl Builds {
    /// No build under way.
    pub fn new(context: Context) -> Builds {
        Builds { context, locks: Arc::default() }
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
        let entered = self.enter(&request.user, &request.app).await;
        Ok(match entered.map_err(Failure::into_problem) {
            Ok((app, _)) => {
                AuthorizeAnswer { problem_json: String::new(), app_created_ms: app.value.created.0 }
            }
            Err(problem) => AuthorizeAnswer { problem_json: problem.to_json(), app_created_ms: 0 },
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
        let now = self.context.clock.monotonic();
        if !self.locks.take(&app.name, &request.build_id, now) {
            return Err(busy(&app, "another push is being built").into());
        }
        let config = config.into_iter().map(|(key, value)| (String::from(key), value));
        let build_id = request.build_id;
        Ok(Answer::Ticket(BuildTicket { build_id, config: config.collect() }))
    }

    /// Keeps the lock. A lock this controller does not know (it was restarted) is taken anew if free.
    pub async fn keep_build(&self, request: BuildRef) -> Result<Empty, Status> {
        let app = app_name(&request)?;
        match self.locks.take(&app, &request.build_id, self.context.clock.monotonic()) {
            true => Ok(Empty {}),
            false => Err(Status::failed_precondition("another push holds the build lock")),
        }
    }

    /// Gives the lock up. One that is lost already is fine.
    pub async fn abandon_build(&self, request: BuildRef) -> Result<Empty, Status> {
        self.locks.release(&app_name(&request)?, &request.build_id);
        Ok(Empty {})
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
