//! Carries bytes between a client's websocket and an agent's call, both ways at once.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use proto::agent::agent_client::AgentClient;
use proto::agent::run_input::Input;
use proto::agent::run_output::Output;
use proto::agent::{Resize, RunInput, RunOutput, RunStart};
use proto::api::{RunControl, RunEnd};
use proto::problem::{Code, Problem};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Frames on their way to the agent.
const QUEUE_FRAMES: usize = 16;
/// How often the client is pinged.
const PING: Duration = Duration::from_secs(15);
/// A client that has said nothing for this long, not even to pings, is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// First byte of a frame of standard output.
const STDOUT: u8 = 1;
/// First byte of a frame of standard error.
const STDERR: u8 = 2;

/// A running command.
pub(super) struct Call {
    name: String,
    detach: bool,
    input: mpsc::Sender<RunInput>,
    output: Streaming<RunOutput>,
}

impl Call {
    /// Sends the command to an agent.
    pub(super) async fn begin(
        mut client: AgentClient<Channel>,
        start: RunStart,
        name: String,
    ) -> Result<Call, Status> {
        let detach = start.detach;
        let (input, queue) = mpsc::channel(QUEUE_FRAMES);
        let first = RunInput { input: Some(Input::Start(start)) };
        input.try_send(first).expect("a new queue has room for one");
        let output = client.run(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Call { name, detach, input, output })
    }
}

/// Carries until the command's end; none when the client left first. Dropping the call ends the command.
pub(super) async fn carry(socket: &mut WebSocket, call: Call) -> Option<RunEnd> {
    let Call { name, detach, input, output } = call;
    let (sink, stream) = socket.split();
    tokio::select! {
        end = outward(sink, output, Ending { name, detach }) => end,
        () = inward(stream, input) => None,
    }
}

struct Ending {
    name: String,
    detach: bool,
}

/// From the agent to the client.
async fn outward(
    mut sink: SplitSink<&mut WebSocket, Message>,
    mut output: Streaming<RunOutput>,
    ending: Ending,
) -> Option<RunEnd> {
    let mut ping = tokio::time::interval(PING);
    loop {
        let message = tokio::select! {
            message = output.message() => message,
            _ = ping.tick() => {
                sink.send(Message::Ping(Bytes::new())).await.ok()?;
                continue;
            }
        };
        let frame = match message.map(|message| message.and_then(|message| message.output)) {
            Ok(Some(Output::Stdout(bytes))) => frame(STDOUT, &bytes),
            Ok(Some(Output::Stderr(bytes))) => frame(STDERR, &bytes),
            Ok(Some(Output::Started(_))) if ending.detach => {
                return Some(RunEnd::Detached { name: ending.name });
            }
            Ok(Some(Output::Started(_))) => continue,
            Ok(Some(Output::Exit(code))) => return Some(RunEnd::Exit { code }),
            Ok(Some(Output::ProblemJson(json))) => {
                return Some(RunEnd::Problem { problem: Problem::from_json(&json) });
            }
            Ok(None) => return Some(broke_off("its node ended the call")),
            Err(status) => {
                tracing::warn!(%status, "an agent broke off a run");
                return Some(broke_off("its node does not answer any more"));
            }
        };
        sink.send(frame).await.ok()?;
    }
}

fn frame(kind: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[kind], bytes].concat().into())
}

fn broke_off(why: &str) -> RunEnd {
    let problem = Problem::new(Code::Unavailable, format!("the command was cut off: {why}"));
    RunEnd::Problem { problem: problem.hint("it may not have run to its end") }
}

/// From the client to the agent, until the client is gone.
async fn inward(mut stream: SplitStream<&mut WebSocket>, input: mpsc::Sender<RunInput>) {
    loop {
        let message = match tokio::time::timeout(SILENCE_LIMIT, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) | Err(_) => return,
        };
        let sent = match message {
            Message::Binary(bytes) => Input::Stdin(bytes.to_vec()),
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(RunControl::Resize { rows, columns }) => Input::Resize(Resize { rows, columns }),
                Ok(RunControl::CloseStdin) => Input::StdinClosed(true),
                // A newer client's control that this program does not know changes nothing.
                Err(_) => continue,
            },
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        // When the agent takes no more input, only the command's end is waited for.
        let _ = input.send(RunInput { input: Some(sent) }).await;
    }
}
