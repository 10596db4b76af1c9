//! An app's lines, as server-sent events.

use std::convert::Infallible;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::iter;
use futures_util::{Stream, StreamExt};
use model::time::Time;
use proto::api::LogLine;
use proto::logger::{Line, LineBatch, ReadRequest};
use proto::problem::{Code, Problem};
use serde::Deserialize;
use tokio_stream::wrappers::ReceiverStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::FollowAccess;
use super::answer::{Answer, Failure, rfc3339};
use super::rollout::{HEARTBEAT, sse_event};

/// Lines shown when no number is asked for.
const DEFAULT_LINES: u32 = 100;
/// The most lines asked for at once.
const MAX_LINES: u32 = 10_000;
/// The longest name of a process or unit.
const MAX_PROCESS_BYTES: usize = 60;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(lines))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The newest that match; default 100, or all since `since`.
    lines: Option<u32>,
    /// Go on with new lines.
    #[serde(default)]
    follow: bool,
    /// `web`, `web.2`, `build`, `platform`.
    #[serde(default)]
    process: String,
    /// RFC 3339.
    since: Option<String>,
}

/// Streams lines, oldest first.
#[utoipa::path(get, path = "/v1/apps/{app}/logs", params(Wanted),
    responses((status = 200, content_type = "text/event-stream", body = LogLine)))]
async fn lines(
    State(api): State<Api>,
    FollowAccess(access): FollowAccess,
    Query(wanted): Query<Wanted>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let mut request = request(access.name().to_string(), wanted)?;
    // A node may still hold lines of an earlier app of this name.
    request.since_ms = request.since_ms.max(access.created().0);
    let batches = api.logs.read(access.name().clone(), request).await?;
    let lines = ReceiverStream::new(batches).map(events).flat_map(iter).map(Ok);
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn request(app: String, wanted: Wanted) -> Answer<ReadRequest> {
    let since_ms = wanted.since.as_deref().map(since_ms).transpose()?.unwrap_or(0);
    let default = if since_ms > 0 { MAX_LINES } else { DEFAULT_LINES };
    let lines = wanted.lines.unwrap_or(default);
    if !(1..=MAX_LINES).contains(&lines) {
        return Err(Failure::invalid("the number of lines is from 1 to 10000"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if wanted.process.len() > MAX_PROCESS_BYTES || !wanted.process.bytes().all(is_name) {
        return Err(Failure::invalid("a process is named as in `paasctl ps`: `web`, `web.2`"));
    }
    let Wanted { follow, process, .. } = wanted;
    Ok(ReadRequest { app, lines, follow, process, since_ms, origin: String::new() })
}

fn since_ms(text: &str) -> Answer<u64> {
    let moment = text.parse::<jiff::Timestamp>().ok();
    let ms = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    ms.ok_or_else(|| {
        Problem::new(Code::Invalid, "`since` is not a moment in RFC 3339")
            .hint("such as `2030-01-31T12:00:00Z`")
            .into()
    })
}

fn events(batch: LineBatch) -> Vec<Event> {
    let dropped = (batch.dropped > 0).then(|| LogLine {
        at: batch.lines.first().map(|line| rfc3339(Time(line.at_ms))).unwrap_or_default(),
        process: "platform".to_owned(),
        stream: String::new(),
        text: format!("{} lines were left out: the reader was too slow", batch.dropped),
    });
    let lines = batch.lines.into_iter().map(shown);
    dropped.into_iter().chain(lines).map(|line| sse_event(&line)).collect()
}

fn shown(line: Line) -> LogLine {
    LogLine {
        at: rfc3339(Time(line.at_ms)),
        process: line.process,
        stream: line.stream,
        text: String::from_utf8_lossy(&line.text).into_owned(),
    }
}
