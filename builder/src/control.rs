//! What the builder asks of the controller, through the gateway.

use std::{collections::BTreeMap, time::Duration};

use link::Gateways;
use model::{
    name::{AppName, ReleaseNumber},
    release::Build,
};
use proto::{
    gateway::{
        AuthorizeRequest, BeginBuildRequest, BuildRef, DeployEvent, FinishBuildRequest,
        IdentifyRequest, KeepHistoryRequest, begin_build_answer::Answer,
        gateway_client::GatewayClient,
    },
    problem::{Code, Problem},
};
use tonic::{Code as Grpc, Status, Streaming, transport::Channel};

/// A call that answers at once may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A controller that restarts is waited for this long.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(200);

/// A cheap handle on the controller.
#[derive(Debug, Clone)]
pub struct Control {
    gateways: Gateways,
}

/// One push, as the controller knows it.
#[derive(Debug, Clone)]
pub struct Push {
    /// Who pushes.
    pub user: String,
    /// To which app.
    pub app: AppName,
    /// To which ref.
    pub git_ref: String,
    /// Which commit, in full.
    pub commit: String,
    /// Chosen by us, unique.
    pub build_id: String,
}

/// What the controller says to a push.
#[derive(Debug)]
pub enum Begun {
    /// Build it; the app's lock is ours. The configuration is for the build.
    Build(BTreeMap<String, String>),
    /// This very commit serves already, as this release.
    AlreadyDeployed(ReleaseNumber),
}

/// An app that a user may push to.
#[derive(Debug, Clone)]
pub struct Entered {
    /// When it was created.
    pub created_ms: u64,
    /// The digest of its newest git history; empty if nothing was pushed.
    pub history: String,
}

/// Where an app's history moved.
#[derive(Debug, Clone)]
pub struct Moved {
    /// When the app was created.
    pub created_ms: u64,
    /// The digest of the history before; empty if there was none.
    pub before: String,
    /// The digest of the history now.
    pub now: String,
}

impl Control {
    /// Through whichever gateway answers.
    pub fn new(gateways: Gateways) -> Control {
        Control { gateways }
    }

    /// Whose key has this fingerprint; none if it is nobody's.
    pub async fn identify(&self, fingerprint: &str) -> Result<Option<String>, Problem> {
        let request = IdentifyRequest { fingerprint: fingerprint.to_owned() };
        let answer = self
            .patiently(|mut client| {
                let request = request.clone();
                async move { Ok(client.identify(request).await?.into_inner()) }
            })
            .await?;
        Ok(Some(answer.user).filter(|user| !user.is_empty()))
    }

    /// Whether a user may push to and fetch from an app; if so, what is known of it.
    pub async fn authorize(&self, user: &str, app: &AppName) -> Result<Entered, Problem> {
        let request = AuthorizeRequest { user: user.to_owned(), app: app.to_string() };
        self.patiently(|mut client| {
            let request = request.clone();
            async move {
                let answer = client.authorize(request).await?.into_inner();
                match answer.problem_json.as_str() {
                    "" => {
                        Ok(Entered { created_ms: answer.app_created_ms, history: answer.history })
                    }
                    problem => Err(Problem::from_json(problem).into()),
                }
            }
        })
        .await
    }

    /// Asks for the build; takes the app's lock if it is granted.
    pub async fn begin(&self, push: &Push) -> Result<Begun, Problem> {
        let request = BeginBuildRequest {
            user: push.user.clone(),
            app: push.app.to_string(),
            git_ref: push.git_ref.clone(),
            commit: push.commit.clone(),
            build_id: push.build_id.clone(),
        };
        self.patiently(|mut client| {
            let request = request.clone();
            async move {
                match client.begin_build(request).await?.into_inner().answer {
                    Some(Answer::Ticket(ticket)) => {
                        Ok(Begun::Build(ticket.config.into_iter().collect()))
                    }
                    Some(Answer::AlreadyDeployed(number)) => {
                        Ok(Begun::AlreadyDeployed(ReleaseNumber(number)))
                    }
                    Some(Answer::ProblemJson(json)) => Err(Problem::from_json(&json).into()),
                    None => {
                        Err(Problem::new(Code::Internal, "the controller gave an empty answer")
                            .into())
                    }
                }
            }
        })
        .await
    }

    /// Keeps the lock. An error means that it is lost; that the controller cannot be reached is none, it may come back in time.
    pub async fn keep(&self, push: &Push) -> Result<(), Problem> {
        let way = self.gateways.best();
        let mut client = GatewayClient::new(way.channel.clone());
        match tokio::time::timeout(TIMEOUT, client.keep_build(build_ref(push))).await {
            Ok(Err(status)) if status.code() == Grpc::FailedPrecondition => {
                Err(Problem::new(Code::Conflict, "the build lost its place: another one took over")
                    .hint("Push again"))
            }
            Ok(Ok(_)) => Ok(()),
            missed => {
                let code = missed.ok().and_then(Result::err).map(|status| status.code());
                tracing::warn!(?code, "the build's lock could not be kept just now");
                self.gateways.pass_over(&way);
                Ok(())
            }
        }
    }

    /// Gives the lock up. If it fails the lock lapses by itself.
    pub async fn abandon(&self, push: &Push) {
        let abandoned = self.patiently(|mut client| {
            let request = build_ref(push);
            async move {
                client.abandon_build(request).await?;
                Ok(())
            }
        });
        if let Err(problem) = abandoned.await {
            tracing::warn!(%problem, app = %push.app, "the build's lock was not given up; it lapses");
        }
    }

    /// Tells where an app's history is kept from now on.
    pub async fn keep_history(&self, app: &AppName, moved: Moved) -> Result<(), Problem> {
        let request = KeepHistoryRequest {
            app: app.to_string(),
            app_created_ms: moved.created_ms,
            before: moved.before,
            history: moved.now,
        };
        self.patiently(|mut client| {
            let request = request.clone();
            async move {
                client.keep_history(request).await?;
                Ok(())
            }
        })
        .await
    }

    /// Makes a release of the build and follows its rollout.
    pub async fn finish(
        &self,
        push: &Push,
        build: &Build,
    ) -> Result<Streaming<DeployEvent>, Problem> {
        let request = FinishBuildRequest {
            app: push.app.to_string(),
            build_id: push.build_id.clone(),
            user: push.user.clone(),
            build_json: serde_json::to_string(build).expect("a build holds only text and numbers"),
        };
        let mut client = GatewayClient::new(self.gateways.best().channel);
        let stream = client.finish_build(request).await.map_err(|status| problem(&status))?;
        Ok(stream.into_inner())
    }

    /// Calls again while the controller cannot be reached or cannot reach the store: for a while, and another one where
    /// there is one.
    async fn patiently<T, F>(
        &self,
        call: impl Fn(GatewayClient<Channel>) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Missed>>,
    {
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut tellers = 0;
        loop {
            let way = self.gateways.best();
            let called = call(GatewayClient::new(way.channel.clone()));
            let missed = match tokio::time::timeout(TIMEOUT, called).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(missed)) => missed,
                Err(_) => Missed::Failed(Status::deadline_exceeded("no answer in time")),
            };
            match missed {
                Missed::Told(problem) => {
                    tellers += 1;
                    let other_may_know = matches!(problem.code, Code::NoQuorum | Code::Unavailable);
                    if !other_may_know || tellers >= self.gateways.count() {
                        return Err(problem);
                    }
                }
                Missed::Failed(status) => {
                    if status.code() != Grpc::Unavailable || tokio::time::Instant::now() >= until {
                        return Err(problem(&status));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            self.gateways.pass_over(&way);
        }
    }
}

fn build_ref(push: &Push) -> BuildRef {
    BuildRef { app: push.app.to_string(), build_id: push.build_id.clone() }
}

/// Why a call had no effect.
enum Missed {
    /// The controller said why.
    Told(Problem),
    /// It did not answer, or not as it should.
    Failed(Status),
}

impl From<Problem> for Missed {
    fn from(problem: Problem) -> Missed {
        Missed::Told(problem)
    }
}

impl From<Status> for Missed {
    fn from(status: Status) -> Missed {
        Missed::Failed(status)
    }
}

/// A failed call in the user's words; its own words go to our log.
pub fn problem(status: &Status) -> Problem {
    tracing::warn!(code = ?status.code(), message = status.message(), "a call to the controller failed");
    match status.code() {
        Grpc::Unavailable | Grpc::DeadlineExceeded | Grpc::Cancelled | Grpc::Unknown => {
            Problem::new(Code::Unavailable, "the controller does not answer")
                .hint("Push again in a moment; `clusterctl doctor` shows what is wrong")
        }
        Grpc::FailedPrecondition => Problem::new(Code::Conflict, "another push was first"),
        _ => Problem::new(Code::Internal, "the controller could not take the push")
            .hint("The builder's log has the cause"),
    }
}
