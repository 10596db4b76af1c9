//! The story of a push: which ref deploys, may it, what is built, what becomes of it.

mod follow;
mod rules;
mod sessions;
mod slots;

use std::time::Duration;

use bytes::Bytes;
use model::release::Build;
use proto::problem::{Code, Problem};
use service::{Clock, Stop};
use tokio::sync::mpsc;

use crate::{
    config::{Config, Limits},
    control::{Begun, Control, Push},
    hook::Request,
    image::{Images, Order},
    log::Log,
    output::Output,
    recipe::{self, Base, Plan},
    source::{Place, Source, SourceError},
};

pub use sessions::{Session, Sessions};
use slots::Slots;

/// How often the app's build lock is kept; it lapses after 15 s.
const KEEP: Duration = Duration::from_secs(5);

/// What turns pushes into releases.
pub struct Builds {
    control: Control,
    log: Log,
    sessions: Sessions,
    images: Images,
    slots: Slots,
    stack: String,
    limits: Limits,
    clock: Clock,
}

impl Builds {
    /// With everything a push needs.
    pub fn new(
        config: &Config,
        control: Control,
        log: Log,
        sessions: Sessions,
        images: Images,
    ) -> Builds {
        Builds {
            control,
            log,
            sessions,
            images,
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
        let Some(session) = self.sessions.find(&request.session) else {
            tracing::warn!("a hook came with no session of ours");
            return false;
        };
        let output = Output::new(pusher, self.log.clone(), session.app.clone());
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
        match self.control.begin(&push).await? {
            Begun::AlreadyDeployed(number) => {
                output
                    .step(&format!(
                        "{number} is this very commit and serves already. Nothing to do."
                    ))
                    .await;
                return Ok(());
            }
            // Configuration is for running, not for building: an image must not depend on it.
            Begun::Build(_) => {}
        }
        let place = Place {
            repository: session.repository.clone(),
            quarantine: request.quarantine.clone(),
            commit: push.commit.clone(),
        };
        let built = tokio::select! {
            biased;
            () = gone.wait() => Err(cancelled()),
            () = session.stop.wait() => Err(cancelled()),
            lost = self.keep(&push) => Err(lost),
            built = self.build(place, &push, output) => built,
        };
        let build = match built {
            Ok(build) => build,
            Err(problem) => {
                self.control.abandon(&push).await;
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
            if let Err(lost) = self.control.keep(push).await {
                return lost;
            }
        }
    }

    async fn build(&self, place: Place, push: &Push, output: &Output) -> Result<Build, Problem> {
        let _slot = self.slots.take(output).await;
        let limit = self.limits.build_time;
        match tokio::time::timeout(limit, self.build_now(place, push, output)).await {
            Ok(built) => built,
            Err(_) => {
                let message = format!("the build took longer than {}", service::Span(limit));
                Err(Problem::new(Code::TimedOut, message)
                    .hint("Make it shorter, or ask your operator for more time"))
            }
        }
    }

    async fn build_now(
        &self,
        place: Place,
        push: &Push,
        output: &Output,
    ) -> Result<Build, Problem> {
        let start = self.clock.monotonic();
        let opened = tokio::task::spawn_blocking(move || Source::open(place)).await;
        let source = opened.map_err(internal)?.map_err(|error| match error {
            SourceError::Refused(problem) => problem,
            git @ SourceError::Git(_) => internal(git),
        })?;
        let base = Base { stack: &self.stack, app: push.app.as_str() };
        let plan = recipe::plan(&source.files, base)?;
        tell_plan(&plan, output).await;
        let planned = self.clock.monotonic();
        let order = Order { push, source: &source, plan: &plan };
        let image = self.images.build(&order, output).await?;
        let built = self.clock.monotonic();
        let (digest, facts) =
            tokio::try_join!(self.images.push(&image), self.images.facts(&image))?;
        let pushed = self.clock.monotonic();
        self.images.forget_tag(image).await;
        tell_processes(&plan, output).await;
        tracing::info!(
            app = %push.app, build = push.build_id, kind = plan.kind, files = source.count(&plan.ignore),
            plan_ms = (planned - start).as_millis(), build_ms = (built - planned).as_millis(),
            push_ms = (pushed - built).as_millis(), "built"
        );
        facts.require_command(&plan)?;
        Ok(Build {
            image: digest,
            commit: Some(push.commit.clone()),
            processes: plan.processes,
            exposed_port: facts.exposed_port,
        })
    }

    async fn release(&self, push: &Push, build: &Build, output: &Output) -> Result<(), Problem> {
        let start = self.clock.monotonic();
        output.step("Deploying").await;
        let outcome = follow::follow(&self.control, push, build, output).await;
        let took = self.clock.since(start);
        tracing::info!(app = %push.app, build = push.build_id, deployed = outcome.is_ok(), deploy_ms = took.as_millis(), "released");
        outcome
    }
}

async fn tell_plan(plan: &Plan, output: &Output) {
    match plan.kind {
        "Dockerfile" => output.step("Dockerfile found").await,
        "Procfile" => output.step("Procfile found: the app runs on the stack image as it is").await,
        kind => output.step(&format!("{kind} app detected")).await,
    }
    for note in &plan.notes {
        output.note(note).await;
    }
}

async fn tell_processes(plan: &Plan, output: &Output) {
    let types: Vec<&str> = plan.processes.keys().map(|process| process.as_str()).collect();
    output.step("Discovering process types").await;
    output.detail(&format!("{} -> {}", plan.processes_from, types.join(", "))).await;
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
