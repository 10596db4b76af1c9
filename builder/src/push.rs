//! The story of a push: which ref deploys, may it, what is built, what becomes of it.

mod follow;
mod make;
mod rules;
mod sessions;
mod slots;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use model::release::Build;
use proto::problem::{Code, Problem};
use service::{Clock, Stop, Tasks};
use tokio::sync::mpsc;

use crate::{
    config::{Config, Limits},
    control::{Begun, Control, Push},
    hook::Request,
    image::Images,
    log::Log,
    output::Output,
    source::Place,
};

pub use sessions::{Session, Sessions};
use slots::Slots;

/// How often the app's build lock is kept; it lapses after 15 s.
const KEEP: Duration = Duration::from_secs(5);

/// What turns pushes into releases.
pub struct Builds {
    parts: Parts,
    slots: Slots,
    stack: String,
    limits: Limits,
    clock: Clock,
}

/// Whom a push needs.
pub struct Parts {
    /// Knows rights, makes releases.
    pub control: Control,
    /// Keeps what was said.
    pub log: Log,
    /// Whose hook it is.
    pub sessions: Sessions,
    /// Builds and pushes.
    pub images: Images,
    /// What may go on after a push.
    pub tasks: Tasks,
}

/// A build that the controller granted.
struct Granted {
    place: Place,
    /// Secret.
    config: BTreeMap<String, String>,
}

impl Builds {
    /// With everything a push needs.
    pub fn new(config: &Config, parts: Parts) -> Builds {
        Builds {
            parts,
            slots: Slots::new(config.limits.parallel),
            stack: config.stack.clone(),
            limits: config.limits,
            clock: Clock::system(),
        }
    }

    /// Answers git's hook: whether the push is accepted. What the pusher reads goes to `pusher`; once `gone` is set
    /// there is nobody to read it, and the build ends.
    pub async fn receive(
        &self,
        request: &Request,
        pusher: mpsc::Sender<Bytes>,
        gone: Stop,
    ) -> bool {
        let Some(session) = self.parts.sessions.find(&request.session) else {
            tracing::warn!("a hook came with no session of ours");
            return false;
        };
        let output = Output::new(pusher, self.parts.log.clone(), session.app.clone());
        match self.deploy(request, &session, &output, gone).await {
            Ok(()) => true,
            Err(problem) => {
                tracing::info!(app = %session.app, user = session.user, code = problem.code.as_str(), message = problem.message, "push refused");
                output.problem(&problem).await;
                false
            }
        }
    }

    async fn deploy(
        &self,
        request: &Request,
        session: &Session,
        output: &Output,
        gone: Stop,
    ) -> Result<(), Problem> {
        let update = rules::deploying(&request.updates)?;
        let push = Push {
            user: session.user.clone(),
            app: session.app.clone(),
            git_ref: update.name.clone(),
            commit: update.new.clone(),
            build_id: format!("b{:016x}", rand::random::<u64>()),
        };
        let config = match self.parts.control.begin(&push).await? {
            Begun::Build(config) => config,
            Begun::AlreadyDeployed(number) => {
                let line =
                    format!("{number} is this very commit and serves already. Nothing to do.");
                output.step(&line).await;
                return Ok(());
            }
        };
        let place = Place {
            repository: session.repository.clone(),
            quarantine: request.quarantine.clone(),
            commit: push.commit.clone(),
        };
        let granted = Granted { place, config };
        let built = tokio::select! {
            biased;
            () = gone.wait() => Err(cancelled()),
            () = session.stop.wait() => Err(cancelled()),
            lost = self.keep(&push) => Err(lost),
            built = self.build(granted, &push, output) => built,
        };
        let build = match built {
            Ok(build) => build,
            Err(problem) => {
                self.parts.control.abandon(&push).await;
                return Err(problem);
            }
        };
        tokio::select! {
            // The rollout goes on without us; what it comes to is in the app's releases.
            () = gone.wait() => Err(cancelled()),
            done = self.release(&push, &build, output) => done,
        }
    }

    /// Keeps the app's lock; returns when it is lost.
    async fn keep(&self, push: &Push) -> Problem {
        loop {
            tokio::time::sleep(KEEP).await;
            if let Err(lost) = self.parts.control.keep(push).await {
                return lost;
            }
        }
    }

    async fn release(&self, push: &Push, build: &Build, output: &Output) -> Result<(), Problem> {
        let start = self.clock.monotonic();
        output.step("Deploying").await;
        let outcome = follow::follow(&self.parts.control, push, build, output).await;
        let took = self.clock.since(start);
        tracing::info!(app = %push.app, build = push.build_id, deployed = outcome.is_ok(), deploy_ms = took.as_millis(), "released");
        outcome
    }
}

fn cancelled() -> Problem {
    Problem::new(Code::BuildFailed, "the push was cut off").hint("Push again")
}

/// Our own failure: the cause goes to our log.
fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Problem {
    let error = anyhow::Error::new(error);
    tracing::error!("{error:#}");
    Problem::new(Code::Internal, "the builder failed at this push")
        .hint("The builder's log has the cause")
}
