//! From a build to its end: the controller's events as lines, and what to do when the controller restarts meanwhile.

use std::time::Duration;

use model::release::Build;
use proto::{
    gateway::{DeployLive, deploy_event::Event},
    problem::{Code, Problem},
};
use tonic::Streaming;

use crate::{
    control::{self, Begun, Control, Push},
    output::Output,
};

/// How long an outcome is asked for after the line to the controller broke.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_secs(1);

/// Makes the release and follows its rollout to the end.
pub async fn follow(
    control: &Control,
    push: &Push,
    build: &Build,
    output: &Output,
) -> Result<(), Problem> {
    let events = match control.finish(push, build).await {
        Ok(events) => events,
        Err(problem) => {
            control.abandon(push).await;
            return Err(problem);
        }
    };
    match relay(events, push, output).await {
        Ended::Live => Ok(()),
        Ended::Failed(problem) => Err(problem),
        Ended::Broken => {
            output.note("the line to the controller broke; waiting for it").await;
            ask(control, push, output).await
        }
    }
}

enum Ended {
    Live,
    Failed(Problem),
    Broken,
}

async fn relay(
    mut events: Streaming<proto::gateway::DeployEvent>,
    push: &Push,
    output: &Output,
) -> Ended {
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event.event,
            Ok(None) => return Ended::Broken,
            Err(status) => {
                control::problem(&status);
                return Ended::Broken;
            }
        };
        match event {
            Some(Event::Progress(line)) => output.detail(&line).await,
            Some(Event::Live(live)) => {
                tell_live(&live, push, output).await;
                return Ended::Live;
            }
            Some(Event::ProblemJson(json)) => return Ended::Failed(Problem::from_json(&json)),
            None => {}
        }
    }
}

async fn tell_live(live: &DeployLive, push: &Push, output: &Output) {
    output.step(&format!("Done, {}:v{} deployed", push.app, live.release)).await;
    if !live.no_url {
        output.detail(&live.url).await;
    }
}

/// Asks for the same build anew: a lock that is free means that the rollout was given up.
async fn ask(control: &Control, push: &Push, output: &Output) -> Result<(), Problem> {
    let again = Push { build_id: format!("{}-asks", push.build_id), ..push.clone() };
    let until = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < until {
        match control.begin(&again).await {
            Ok(Begun::AlreadyDeployed(number)) => {
                output.step(&format!("Done, {}:{number} deployed", push.app)).await;
                return Ok(());
            }
            Ok(Begun::Build(_)) => {
                control.abandon(&again).await;
                return Err(Problem::new(Code::Unhealthy, "the new release was not deployed")
                    .hint("`paasctl releases` says why"));
            }
            Err(problem) if matches!(problem.code, Code::Busy | Code::Unavailable) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(problem) => return Err(problem),
        }
    }
    Err(Problem::new(Code::TimedOut, "it is not known how the deploy ended")
        .hint("`paasctl releases` shows it"))
}
