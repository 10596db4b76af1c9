//! One-off commands: a websocket to the client, a call to an agent, and bytes between them.

mod bridge;
mod start;

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use proto::agent::agent_client::AgentClient;
use proto::api::{RunEnd, RunRequest};
use proto::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::AppAccess;

/// The largest frame.
const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// How long the client may take to say what to run.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(run))
}

/// Runs a command in a container of the release in force. A websocket: see `RunRequest`.
#[utoipa::path(get, path = "/v1/apps/{app}/run",
    responses((status = 101, body = RunRequest, description = "The first text frame from the client"),
        (status = 200, body = RunEnd, description = "The last text frame from the server")))]
async fn run(State(api): State<Api>, access: AppAccess, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .on_upgrade(async move |socket| session(api, access, socket).await)
}

async fn session(api: Api, access: AppAccess, mut socket: WebSocket) {
    let end = match first_frame(&mut socket).await {
        Err(problem) => RunEnd::Problem { problem },
        Ok(None) => return,
        Ok(Some(request)) => match start::prepare(&api, &access, request).await {
            Err(failure) => RunEnd::Problem { problem: failure.into_problem() },
            Ok(start) => {
                let by = access.user();
                api.logs.say(access.name(), format!("run.{} started by {by}", start.start.name));
                match begin(&api, start).await {
                    Err(problem) => RunEnd::Problem { problem },
                    Ok(call) => match bridge::carry(&mut socket, call).await {
                        Some(end) => end,
                        // The client is gone: the call was dropped, and the agent ends the command.
                        None => return,
                    },
                }
            }
        },
    };
    let text = serde_json::to_string(&end).expect("an end holds only text and numbers");
    let _ = socket.send(Message::Text(text.into())).await;
    let _ = socket.send(Message::Close(None)).await;
}

/// What to run; none when the client left.
async fn first_frame(socket: &mut WebSocket) -> Result<Option<RunRequest>, Problem> {
    let refused = |message: String| {
        Problem::new(Code::Invalid, message).hint("the first frame is a RunRequest as JSON text")
    };
    let read = async {
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => {
                    let request = serde_json::from_str(&text).map_err(|error| {
                        refused(format!("the first frame is not as it must be: {error}"))
                    })?;
                    return Ok(Some(request));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    return Err(refused("the first frame is binary".to_owned()));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(None),
            }
        }
    };
    match tokio::time::timeout(REQUEST_LIMIT, read).await {
        Ok(read) => read,
        Err(_) => Err(refused("no command came in time".to_owned())),
    }
}

async fn begin(api: &Api, start: start::Start) -> Result<bridge::Call, Problem> {
    let unreachable = |cause: &dyn std::fmt::Display| {
        tracing::warn!(%cause, node = %start.node, "an agent cannot be reached");
        Problem::new(Code::Unavailable, format!("node {} does not answer", start.node))
            .hint("try again in a moment")
    };
    let channel = service::channel(&api.identity, &start.agent, "agent")
        .map_err(|error| unreachable(&error))?;
    let name = format!("run.{}", start.start.name);
    bridge::Call::begin(AgentClient::new(channel), start.start, name)
        .await
        .map_err(|status| unreachable(&status))
}
