//! From a finished build to a release that serves, told step by step to the pusher.

use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use model::app::App;
use model::name::{ProcessType, ReleaseNumber};
use model::release::Build;
use model::time::Time;
use proto::gateway::deploy_event::Event;
use proto::gateway::{DeployEvent, DeployLive, FinishBuildRequest};
use proto::problem::{Code, Problem};
use tonic::Status;

use super::{Builds, busy};
use crate::api::{Failure, current_release, say, write};
use crate::change::{Asked, Refusal, release};
use crate::follow::{Follow, Step};
use crate::progress::End;
use crate::records::CommitError;

/// How long a finished build waits for another release of the app to come to its end.
const BUSY_PATIENCE: Duration = Duration::from_secs(180);
/// How often it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// All events; the last one is live or a problem.
pub(super) fn events(
    builds: Builds,
    request: FinishBuildRequest,
) -> BoxStream<'static, Result<DeployEvent, Status>> {
    let first = Stage::Release { waited_since: None };
    unfold((builds, request, first), async |(builds, request, stage)| {
        let (event, next) = stage.next(&builds, &request).await?;
        Some((Ok(DeployEvent { event: Some(event) }), (builds, request, next)))
    })
    .boxed()
}

enum Stage {
    /// The release is to be made; another one may be in the way since then.
    Release {
        waited_since: Option<Duration>,
    },
    /// It was made and is followed.
    Follow {
        follow: Box<Follow>,
        release: ReleaseNumber,
        has_web: bool,
    },
    Over,
}

impl Stage {
    async fn next(self, builds: &Builds, request: &FinishBuildRequest) -> Option<(Event, Stage)> {
        match self {
            Stage::Over => None,
            Stage::Release { waited_since } => Some(made(builds, request, waited_since).await),
            Stage::Follow { mut follow, release, has_web } => match follow.next().await? {
                Step::Said(text) => {
                    Some((Event::Progress(text), Stage::Follow { follow, release, has_web }))
                }
                Step::End(End::Live { .. }) => {
                    let url = builds.context.platform.url_of(&request.app);
                    let live = DeployLive { release: release.0, url, no_url: !has_web };
                    Some((Event::Live(live), Stage::Over))
                }
                Step::End(End::Failed(problem)) => Some(over(&problem)),
            },
        }
    }
}

fn over(problem: &Problem) -> (Event, Stage) {
    (Event::ProblemJson(problem.to_json()), Stage::Over)
}

/// Makes the release. The lock is held until it is durable, and given up in any case.
async fn made(
    builds: &Builds,
    request: &FinishBuildRequest,
    mut waited_since: Option<Duration>,
) -> (Event, Stage) {
    loop {
        let attempt = make(builds, request).await;
        let now = builds.context.clock.monotonic();
        if let Ok(Made::Later(release)) = &attempt {
            let Some(since) = waited_since else {
                let text = format!("waiting: {release} is being rolled out");
                return (Event::Progress(text), Stage::Release { waited_since: Some(now) });
            };
            if now.saturating_sub(since) < BUSY_PATIENCE {
                waited_since = Some(since);
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
        }
        if let Ok(app) = request.app.parse() {
            // If it fails the lock lapses by itself.
            if let Err(error) = builds.locks.release(&app, &request.build_id).await {
                tracing::warn!(%app, %error, "a build lock was not given up; it lapses");
            }
        }
        return match attempt {
            Ok(Made::Now(app, release, has_web)) => {
                let follow = Follow::new(builds.context.clone(), &app, app.generation);
                let follow = Box::new(follow);
                let text = format!("releasing {release}");
                (Event::Progress(text), Stage::Follow { follow, release, has_web })
            }
            Ok(Made::Later(release)) => {
                over(&Problem::from(Refusal::Busy { release }).hint("push again"))
            }
            Err(failure) => over(&failure.into_problem()),
        };
    }
}

enum Made {
    Now(Box<App>, ReleaseNumber, bool),
    /// Another release is on its way.
    Later(ReleaseNumber),
}

async fn make(builds: &Builds, request: &FinishBuildRequest) -> Result<Made, Failure> {
    let context = &builds.context;
    let build: Build = serde_json::from_str(&request.build_json).map_err(|error| {
        Problem::new(Code::Invalid, format!("the build is not readable: {error}"))
    })?;
    let has_web = build.processes.contains_key(&ProcessType::web());
    loop {
        let (read, by) = builds.enter(&request.user, &request.app).await?;
        let app = &read.value;
        if !builds.lock(&app.name, &request.build_id).await? {
            return Err(busy(app, "another push is being built").into());
        }
        let current = current_release(context, app).await?;
        let now = Time(context.clock.now_ms());
        let asked = Asked { app, current: current.as_ref(), by: &by, now };
        let next = match release::deploy(asked, build.clone()) {
            Ok(next) => next.expect("a build always makes a release"),
            Err(Refusal::Busy { release }) => return Ok(Made::Later(release)),
            Err(refusal) => return Err(refusal.into()),
        };
        match write(context, &read, &next).await {
            Ok(()) => {}
            Err(CommitError::Conflict) => continue,
            Err(error) => return Err(error.into()),
        }
        say(context, &next, "deployed", by.as_str());
        let number = ReleaseNumber(app.next_release);
        return Ok(Made::Now(Box::new(next.app), number, has_web));
    }
}
