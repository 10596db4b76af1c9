//! The wiring of one attached command: its output to the call, the call's input to it.

use bollard::query_parameters::ResizeContainerTTYOptionsBuilder;
use futures_util::StreamExt;
use proto::agent::{Resize, RunInput, RunOutput, run_input::Input, run_output::Output};
use tokio::{io::AsyncWriteExt, sync::mpsc};
use tonic::Streaming;

use super::{Answer, rows_and_columns};
use crate::{
    docker::{
        Docker,
        attach::{self, Source},
        meaning,
    },
    runtime::{Runtime, RuntimeError},
};

/// What a terminal sends for the end of input.
const END_OF_INPUT: &[u8] = b"\x04";

/// A command and its caller.
pub struct Wire<'a> {
    /// Where it runs.
    pub docker: &'a Docker,
    /// Its container, made and not started.
    pub container: &'a str,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Where output goes.
    pub outputs: &'a mpsc::Sender<Answer>,
}

/// How it came to an end.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(i32),
    /// Its caller has gone.
    CallBroke,
}

impl Wire<'_> {
    /// Starts the command and runs it to its end. Attached before it is started, so that no byte is missed.
    pub async fn run(
        &self,
        inputs: Streaming<RunInput>,
        size: Option<Resize>,
    ) -> Result<End, RuntimeError> {
        let attached = attach::attach(self.docker.socket(), self.container, self.tty).await;
        let (output, input) =
            attached.map_err(|error| RuntimeError::Unavailable(error.to_string()))?;
        self.docker.start(self.container).await?;
        if let Some(size) = size {
            self.resize(size).await;
        }
        if !self.send(Output::Started(true)).await {
            return Ok(End::CallBroke);
        }
        let copied = tokio::select! {
            copied = self.copy_out(output) => copied,
            () = self.copy_in(inputs, input) => Ok(false),
        };
        match copied {
            Ok(true) => self.exit_code().await.map(End::Exited),
            Ok(false) => Ok(End::CallBroke),
            Err(error) => Err(RuntimeError::Unavailable(error.to_string())),
        }
    }

    /// All output until the command ends. False: nobody takes it.
    async fn copy_out(&self, mut output: attach::Output) -> std::io::Result<bool> {
        while let Some((source, bytes)) = output.next().await? {
            let bytes = bytes.to_vec();
            let piece = match source {
                Source::Stdout => Output::Stdout(bytes),
                Source::Stderr => Output::Stderr(bytes),
            };
            if !self.send(piece).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All input until the call breaks. A caller that has said everything is waited with for ever.
    async fn copy_in(&self, mut inputs: Streaming<RunInput>, input: attach::Input) {
        let mut input = Some(input);
        loop {
            match inputs.message().await {
                Ok(Some(RunInput { input: Some(Input::Stdin(bytes)) })) => {
                    // A command that closed its input is not to blame; what is sent to it is dropped.
                    if let Some(open) = &mut input
                        && open.write_all(&bytes).await.is_err()
                    {
                        input = None;
                    }
                }
                Ok(Some(RunInput { input: Some(Input::StdinClosed(true)) })) => {
                    self.close(&mut input).await;
                }
                Ok(Some(RunInput { input: Some(Input::Resize(size)) })) => self.resize(size).await,
                // Nothing else has a meaning after the start.
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.close(&mut input).await;
                    return std::future::pending().await;
                }
                Err(_) => return,
            }
        }
    }

    /// Tells the command that no more input comes.
    async fn close(&self, input: &mut Option<attach::Input>) {
        let Some(open) = input else { return };
        // A terminal stays open: output goes through it too.
        let closed =
            if self.tty { open.write_all(END_OF_INPUT).await } else { open.shutdown().await };
        if let Err(error) = closed {
            tracing::debug!(%error, "a command's input was closed already");
        }
        // The half must live on: dropping it is no harm, but a second close would be.
        if !self.tty {
            *input = None;
        }
    }

    async fn resize(&self, size: Resize) {
        let (rows, columns) = rows_and_columns(size);
        let options = ResizeContainerTTYOptionsBuilder::new().h(rows).w(columns).build();
        if let Ok(client) = self.docker.client().await
            && let Err(error) = client.resize_container_tty(self.container, options).await
        {
            tracing::debug!(%error, "a terminal was not resized");
        }
    }

    async fn exit_code(&self) -> Result<i32, RuntimeError> {
        let client = self.docker.client().await?;
        let ended = client.wait_container(self.container, None).next().await;
        let code = match ended {
            Some(Ok(ended)) => ended.status_code,
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(meaning(error)),
            None => return Err(RuntimeError::Unavailable("it does not tell the exit".to_owned())),
        };
        Ok(i32::try_from(code).unwrap_or(i32::MAX))
    }

    async fn send(&self, output: Output) -> bool {
        self.outputs.send(Ok(RunOutput { output: Some(output) })).await.is_ok()
    }
}
