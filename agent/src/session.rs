//! One-off commands: a container of its own per call, wired to the caller, gone with the call.

mod detached;
mod wire;

use std::{pin::Pin, sync::Arc, time::Duration};

use bollard::query_parameters::CreateContainerOptionsBuilder;
use model::name::{NameError, VolumeId};
use proto::{
    agent::{
        RemoveVolumeAnswer, RemoveVolumeRequest, Resize, RunInput, RunOutput, RunStart,
        agent_server::Agent, run_input::Input, run_output::Output,
    },
    problem::{Code, Problem},
};
use service::Tasks;
use tokio::sync::{OnceCell, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    docker::{Docker, image_missing, meaning, spec},
    logs::Shipper,
    room::{Held, Room},
    runtime::{Runtime, RuntimeError},
    volumes::Volumes,
};
use wire::{End, Wire};

/// Pieces of output, of at most 32 KiB, that wait for a slow caller.
const OUTPUTS: usize = 16;
/// Before the engine is asked again to remove a command.
const DISCARD_EVERY: Duration = Duration::from_secs(1);
/// Length of a command's name.
const MAX_NAME: usize = 40;

/// Runs one-off commands for the controller.
#[derive(Clone)]
pub struct Sessions {
    /// Where they run.
    pub docker: Arc<Docker>,
    /// The node's volumes.
    pub volumes: Volumes,
    /// Where the output of detached ones goes.
    pub lines: Shipper,
    /// Memory of the node.
    pub room: Room,
    /// What runs them.
    pub tasks: Tasks,
    /// Set once an earlier run's commands are told from this run's: before that, none starts.
    pub earlier: Arc<OnceCell<()>>,
}

type Answer = Result<RunOutput, Status>;

#[tonic::async_trait]
impl Agent for Sessions {
    type RunStream = Pin<Box<dyn tokio_stream::Stream<Item = Answer> + Send>>;

    async fn run(
        &self,
        request: Request<Streaming<RunInput>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        service::peer(&request)?.require_role(&["controller"])?;
        let mut inputs = request.into_inner();
        let Some(RunInput { input: Some(Input::Start(start)) }) = inputs.message().await? else {
            return Err(Status::invalid_argument("the first message must be `start`"));
        };
        let (outputs, answers) = mpsc::channel(OUTPUTS);
        let sessions = self.clone();
        self.tasks.spawn("session", async move { sessions.serve(start, inputs, outputs).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn remove_volume(
        &self,
        request: Request<RemoveVolumeRequest>,
    ) -> Result<Response<RemoveVolumeAnswer>, Status> {
        service::peer(&request)?.require_role(&["controller"])?;
        let volume: VolumeId = request
            .into_inner()
            .volume
            .parse()
            .map_err(|error: NameError| Status::invalid_argument(error.to_string()))?;
        let (volumes, removed) = (self.volumes.clone(), volume.clone());
        let removing = tokio::task::spawn_blocking(move || volumes.remove(&removed)).await;
        let removing = removing.map_err(|error| Status::internal(error.to_string()))?;
        removing.map_err(|error| Status::internal(format!("delete volume `{volume}`: {error}")))?;
        tracing::info!(%volume, "a volume was deleted");
        Ok(Response::new(RemoveVolumeAnswer {}))
    }
}

impl Sessions {
    async fn serve(
        &self,
        start: RunStart,
        inputs: Streaming<RunInput>,
        outputs: mpsc::Sender<Answer>,
    ) {
        let last = match self.prepare(&start).await {
            Err(problem) => Some(Output::ProblemJson(problem.to_json())),
            Ok((container, held)) if start.detach => {
                self.detach(&start, container, held).await.err()
            }
            Ok((container, held)) => {
                let last = self.attend(&start, &container, inputs, &outputs).await;
                self.discard(container, held).await;
                last
            }
        };
        let last = match last {
            Some(last) => last,
            None if start.detach => Output::Started(true),
            None => return,
        };
        // A caller that has gone does not want to know.
        let _ = outputs.send(Ok(RunOutput { output: Some(last) })).await;
    }

    /// Makes the container. Its memory is held as long as it may run.
    async fn prepare(&self, start: &RunStart) -> Result<(String, Held), Problem> {
        check_name(&start.name)?;
        self.see_to_earlier().await.map_err(|error| problem(&error))?;
        let held = self.room.hold(start.memory_bytes).map_err(|free| {
            let (needed, free) = (start.memory_bytes >> 20, free >> 20);
            Problem::new(
                Code::NoRoom,
                format!("the command needs {needed} MiB of memory, the node has {free} MiB left"),
            )
            .hint("Try again later, or lower the memory limit")
        })?;
        match self.create(start).await {
            Ok(container) => Ok((container, held)),
            Err(error) => Err(problem(&error)),
        }
    }

    async fn create(&self, start: &RunStart) -> Result<String, RuntimeError> {
        match self.try_create(start).await {
            Err(RuntimeError::ImageMissing(_)) => {
                self.docker.pull(&start.image).await.map_err(|error| match error {
                    RuntimeError::Gone(why) | RuntimeError::Refused(why) => {
                        RuntimeError::ImageMissing(why)
                    }
                    error => error,
                })?;
                self.try_create(start).await
            }
            made => made,
        }
    }

    async fn try_create(&self, start: &RunStart) -> Result<String, RuntimeError> {
        let name = format!("trireme-run-{}-{}", start.app, start.name);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let one_off = spec::OneOff {
            app: &start.app,
            name: &start.name,
            image: &start.image,
            command: &start.command,
            env: &start.env,
            limits: spec::Limits { memory_bytes: start.memory_bytes, cpu_millis: start.cpu_millis },
            // Nobody sits at a detached one's terminal, and the log keeps lines.
            tty: start.tty && !start.detach,
            detach: start.detach,
        };
        let body = spec::one_off(&one_off, self.docker.place());
        let client = self.docker.client().await?;
        let made = client.create_container(Some(options), body).await;
        made.map(|made| made.id).map_err(|error| image_missing(meaning(error)))
    }

    /// Runs the command with its caller, to its end or the call's. Returns the call's last message, if there is a caller.
    async fn attend(
        &self,
        start: &RunStart,
        container: &str,
        inputs: Streaming<RunInput>,
        outputs: &mpsc::Sender<Answer>,
    ) -> Option<Output> {
        let wire = Wire { docker: &self.docker, container, tty: start.tty, outputs };
        let size = start.size.filter(|_| start.tty);
        let ended = tokio::select! {
            () = self.tasks.stop().wait() => return Some(stopping()),
            // Also when the connection under the call breaks.
            () = outputs.closed() => return None,
            ended = wire.run(inputs, size) => ended,
        };
        match ended {
            Ok(End::Exited(code)) => Some(Output::Exit(code)),
            Ok(End::CallBroke) => None,
            Err(error) => Some(Output::ProblemJson(problem(&error).to_json())),
        }
    }

    /// Removes a command's container. What the engine does not do now is asked of it again until it does, or until the
    /// agent stops, whose next start asks; the memory is held as long.
    async fn discard(&self, container: String, held: Held) {
        let Err(error) = self.docker.discard(&container).await else { return };
        tracing::warn!(%error, container, "a one-off command is not removed yet");
        let sessions = self.clone();
        self.tasks.spawn("discarding", async move {
            let _held = held;
            let stop = sessions.tasks.stop().clone();
            loop {
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(DISCARD_EVERY) => {}
                }
                if sessions.docker.discard(&container).await.is_ok() {
                    return;
                }
            }
        });
    }
}

fn stopping() -> Output {
    let problem = Problem::new(Code::Unavailable, "the node's agent is stopping");
    Output::ProblemJson(problem.hint("Run the command again").to_json())
}

fn check_name(name: &str) -> Result<(), Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(Problem::new(
        Code::Invalid,
        "a one-off command's name has 1 to 40 letters, digits, `-`, `_`",
    ))
}

fn problem(error: &RuntimeError) -> Problem {
    match error {
        RuntimeError::Unavailable(why) => {
            tracing::warn!(why, "a one-off command could not be run");
            Problem::new(Code::Unavailable, "the node's Docker Engine does not answer")
                .hint("Try again in a moment")
        }
        RuntimeError::ImageMissing(why) => {
            Problem::new(Code::Unavailable, format!("the app's image cannot be fetched: {why}"))
        }
        RuntimeError::Gone(why) => {
            Problem::new(Code::Unavailable, format!("the command's container vanished: {why}"))
        }
        RuntimeError::Refused(why) => {
            Problem::new(Code::Invalid, format!("the command cannot be started: {why}"))
        }
    }
}

/// Rows and columns the engine understands.
fn rows_and_columns(size: Resize) -> (i32, i32) {
    let bounded = |cells: u32| i32::try_from(cells.clamp(1, 10_000)).unwrap_or(1);
    (bounded(size.rows), bounded(size.columns))
}
