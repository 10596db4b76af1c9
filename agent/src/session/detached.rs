//! One-off commands that outlive their call, and what an agent finds of an earlier run's commands.

use std::time::Duration;

use bollard::models::ContainerSummary;
use proto::agent::{RunStart, run_output::Output};
use service::Stop;

use super::{Sessions, problem};
use crate::{
    docker::spec,
    logs::{Lines, Origin},
    room::Held,
    runtime::{Runtime, RuntimeError},
};

/// How often a detached command is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Before the Docker Engine is asked again for what an earlier run left.
const RETRY: Duration = Duration::from_secs(1);

impl Sessions {
    /// Starts a command nobody waits for.
    pub(super) async fn detach(
        &self,
        start: &RunStart,
        container: String,
        held: Held,
    ) -> Result<(), Output> {
        if let Err(error) = self.docker.start(&container).await {
            self.discard(container, held).await;
            return Err(Output::ProblemJson(problem(&error).to_json()));
        }
        let process = format!("run.{}", start.name);
        self.see_off(Origin { container, app: start.app.clone(), process }, held);
        Ok(())
    }

    /// Delivers a detached command's output and removes it when both are done.
    fn see_off(&self, origin: Origin, held: Held) {
        let sessions = self.clone();
        self.lines.follow_origin(origin.clone());
        self.tasks.spawn("detached command", async move {
            let stop = sessions.tasks.stop().clone();
            while !sessions.lines.is_drained(&origin.container) {
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
            sessions.lines.forget(&origin.container);
            sessions.discard(origin.container, held).await;
        });
    }

    /// Sees to an earlier run's commands as soon as the engine tells them.
    pub async fn clear_leftovers(self, stop: Stop) {
        while let Err(error) = self.see_to_earlier().await {
            tracing::debug!(%error, "earlier one-off commands are not known yet");
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Removes the commands of an earlier run, whose callers have gone with it, and sees to its detached ones. Once.
    pub(super) async fn see_to_earlier(&self) -> Result<(), RuntimeError> {
        let seen_to = self.earlier.get_or_try_init(|| self.try_see_to_earlier()).await;
        seen_to.copied()
    }

    async fn try_see_to_earlier(&self) -> Result<(), RuntimeError> {
        let node = format!("{}={}", spec::NODE, self.docker.place().node);
        let all = self.docker.labelled(&[&node]).await?;
        let ids: Vec<String> = all.iter().filter_map(|found| found.id.clone()).collect();
        self.lines.sweep(&ids);
        for left in all.into_iter().filter_map(Leftover::of) {
            let held = self.room.hold_running(left.memory_bytes);
            if left.is_detached {
                self.see_off(left.origin, held);
            } else {
                let process = left.origin.process;
                tracing::info!(process, "removing an earlier one-off command");
                self.discard(left.origin.container, held).await;
            }
        }
        Ok(())
    }
}

struct Leftover {
    origin: Origin,
    is_detached: bool,
    memory_bytes: u64,
}

impl Leftover {
    fn of(found: ContainerSummary) -> Option<Leftover> {
        let labels = found.labels?;
        labels.get(spec::ONEOFF)?;
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        Some(Leftover {
            origin: Origin {
                container: found.id?,
                app: label(spec::APP),
                process: label(spec::NAME),
            },
            is_detached: labels.contains_key(spec::DETACHED),
            memory_bytes: label(spec::MEMORY).parse().unwrap_or_default(),
        })
    }
}
