//! Following a change to its end: live on a terminal, plain lines in a pipe, the truth in the exit code.

use std::time::Duration;

use clap::Args;
use proto::api::{Change, RolloutEvent};
use proto::problem::{Code, Problem};
use tokio::time::Instant;

use super::failure::Failure;
use super::target::App;
use crate::output::{Progress, line};

/// How long the controller may be away before we give up watching; the change itself goes on.
const AWAY_LIMIT: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Whether to follow.
#[derive(Args)]
pub struct Wait {
    /// Return as soon as the change is accepted, without seeing it serve
    #[arg(long)]
    pub no_wait: bool,
}

/// How a stream of events ended.
enum Watched {
    Live { release: Option<String> },
    Broken(Failure),
}

/// Follows a change; `what` says what is new: `web=3`.
pub async fn follow(app: &App, change: &Change, wait: &Wait, what: &str) -> Result<(), Failure> {
    if !change.changed {
        line(format!("Nothing to do: {} is like that already.", app.name));
        return Ok(());
    }
    if wait.no_wait {
        let release =
            change.release.as_ref().map(|release| format!(" as {release}")).unwrap_or_default();
        line(format!(
            "Accepted{release}, not waited for. See how it goes: paasctl ps -a {}",
            app.name
        ));
        return Ok(());
    }
    let release = watch(app, change.generation).await?;
    let release = release.map(|release| format!(":{release}")).unwrap_or_default();
    line(format!("done, {}{release} {what}", app.name));
    Ok(())
}

/// Watches until the end, over broken connections.
async fn watch(app: &App, generation: u64) -> Result<Option<String>, Failure> {
    let mut progress = Progress::new();
    let mut last_contact = Instant::now();
    loop {
        match watch_once(app, generation, &mut progress, &mut last_contact).await? {
            Watched::Live { release } => return Ok(release),
            Watched::Broken(failure) if last_contact.elapsed() > AWAY_LIMIT => {
                return Err(failure.hint(format!(
                    "The change goes on without us. See how it went: paasctl ps -a {}",
                    app.name
                )));
            }
            Watched::Broken(_) => progress.say("waiting for the controller"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn watch_once(
    app: &App,
    generation: u64,
    progress: &mut Progress,
    last_contact: &mut Instant,
) -> Result<Watched, Failure> {
    let path = app.path(&format!("rollout?generation={generation}"));
    let mut events = match app.client.events(&path).await {
        Ok(events) => events,
        Err(failure) if failure.is_passing() => return Ok(Watched::Broken(failure)),
        Err(failure) => return Err(failure),
    };
    while let Ok(data) = events.next().await {
        *last_contact = Instant::now();
        match serde_json::from_str(&data) {
            Ok(RolloutEvent::Progress { text }) => progress.say(&text),
            Ok(RolloutEvent::Live { release }) => return Ok(Watched::Live { release }),
            Ok(RolloutEvent::Failed { problem }) => return Err(problem.into()),
            Err(_) => {
                let problem =
                    Problem::new(Code::Internal, "an event of the rollout cannot be read");
                return Err(problem.details(vec![data]).into());
            }
        }
    }
    Ok(Watched::Broken(Failure::unreachable("the connection to the controller broke")))
}
