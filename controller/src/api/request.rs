//! What happens around every request: an id, a log line, a deadline, and one shape for all errors.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use proto::problem::{Code, Problem};

use super::Api;
use super::access::Known;
use super::answer::{REQUEST_ID, problem_response};
use crate::accounts::secret;
use crate::doubt::noting_stale;

/// Marks an answer made from what is remembered while the store has no quorum.
const STALE: &str = proto::api::STALE_HEADER;
/// How long an answer may take to begin. Streams begin at once and last as long as they like.
const ANSWER_LIMIT: Duration = Duration::from_secs(25);
/// The longest request id taken from a client.
const MAX_ID_BYTES: usize = 64;
/// The largest text of a refusal made outside our handlers.
const MAX_REFUSAL_BYTES: usize = 1024;

#[derive(Clone)]
struct RequestId(String);

/// Gives the request its id, and writes its log line.
pub(super) async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = given_id(&request).unwrap_or_else(secret::new_id);
    let known = Known::default();
    let method = request.method().clone();
    let template = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(known.clone());
    request.extensions_mut().insert(RequestId(id.clone()));
    let started = api.clock.monotonic();
    let (mut response, is_stale) = noting_stale(next.run(request)).await;
    if is_stale {
        response.headers_mut().insert(STALE, HeaderValue::from_static("true"));
    }
    let header = HeaderValue::from_str(&id).expect("ids are visible ASCII");
    response.headers_mut().insert(REQUEST_ID, header);
    tracing::info!(
        %method,
        path = template.as_ref().map_or("", MatchedPath::as_str),
        status = response.status().as_u16(),
        ms = u64::try_from(api.clock.since(started).as_millis()).unwrap_or(u64::MAX),
        user = known.get().map_or("", |user| user.as_str()),
        request_id = %id,
        "request"
    );
    response
}

/// A client's own id, when it is short and harmless in a log.
fn given_id(request: &Request) -> Option<String> {
    let given = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let is_sane = (1..=MAX_ID_BYTES).contains(&given.len())
        && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_sane.then(|| given.to_owned())
}

/// Answers for a handler that takes too long.
pub(super) async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem_response(
            &Problem::new(Code::Unavailable, "the platform did not answer in time")
                .hint("look at what it is now before you try again"),
        ),
    }
}

/// Every error is a [`Problem`] with the request's id, also those axum makes.
pub(super) async fn one_error_shape(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let response = next.run(request).await;
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let mut problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None => {
            let text = to_bytes(body, MAX_REFUSAL_BYTES).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            Problem::new(code_of(parts.status), text)
        }
    };
    problem.request_id = id.map(|id| id.0).unwrap_or_default();
    let status = parts.status;
    let mut shaped = problem_response(&problem);
    *shaped.status_mut() = status;
    for (name, value) in &parts.headers {
        if name != "content-type" && name != "content-length" {
            shaped.headers_mut().insert(name, value.clone());
        }
    }
    shaped
}

fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        status if status.is_client_error() => Code::Invalid,
        _ => Code::Internal,
    }
}
