//! What handlers answer: JSON, or a problem; and how bodies are read.

use std::error::Error;
use std::fmt::Display;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::account::Denied;
use model::name::NameError;
use model::time::Time;
use proto::problem::{Code, Problem};
use serde::de::DeserializeOwned;
use store::StoreError;

use super::Api;
use crate::change::Refusal;
use crate::records::{CommitError, ReadError};
use crate::seal::SealError;

/// The header that carries a request's id.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Said to the user as it is.
    Problem(Box<Problem>),
    /// A race was lost; reading anew and trying again may help.
    Conflict,
}

pub(super) type Answer<T> = Result<T, Failure>;

impl Failure {
    /// Our mistake: the cause goes to the log, the user gets the request id.
    pub(super) fn internal(what: &str, cause: &dyn Display) -> Failure {
        tracing::error!(%cause, "failed to {what}");
        let problem = Problem::new(Code::Internal, "something went wrong inside the platform");
        problem.hint("give the request id to an administrator; the log has the reason").into()
    }

    pub(super) fn invalid(message: impl Into<String>) -> Failure {
        Problem::new(Code::Invalid, message).into()
    }

    /// As said to the user.
    pub(crate) fn into_problem(self) -> Problem {
        match self {
            Failure::Problem(problem) => *problem,
            Failure::Conflict => {
                Problem::new(Code::Conflict, "somebody else changed it at the same moment")
                    .hint("look at what it is now, then try again")
            }
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Problem(Box::new(problem))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Problem::from(refusal).into()
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Failure {
        Problem::new(Code::Invalid, format!("cannot {error}")).into()
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        let (code, message, hint) = match denied {
            Denied::LoginNeeded => {
                (Code::LoginNeeded, "no valid token was given", "log in: `paasctl login`")
            }
            Denied::NotYours => (
                Code::Forbidden,
                "your account has no right to do that",
                "ask the app's owner or an administrator",
            ),
            Denied::ScopeTooSmall => (
                Code::ScopeTooSmall,
                "the token in use does not cover that",
                "use a token with a larger scope",
            ),
            Denied::RegistrationClosed => (
                Code::RegistrationClosed,
                "registration is closed",
                "ask an administrator for an account",
            ),
        };
        Problem::new(code, message).hint(hint).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let unavailable = |message: &str, hint: &str| {
            tracing::warn!(%error, "the store failed");
            Problem::new(Code::Unavailable, message).hint(hint).into()
        };
        match &error {
            StoreError::Full { .. } => {
                tracing::warn!(%error, "the store is full");
                Problem::new(Code::DiskFull, "the disk is too full to take the change safely")
                    .hint("an administrator must free space on the controller's disk; nothing was changed")
                    .into()
            }
            StoreError::TooLarge { .. } => {
                Problem::new(Code::TooLarge, format!("cannot {error}")).into()
            }
            error if error.is_outcome_unknown() => unavailable(
                "the platform's memory did not answer in time: the change may have happened or not",
                "look at what it is now before you try again",
            ),
            error if error.is_retryable() => unavailable(
                "the platform's memory cannot be reached: nothing was changed",
                "try again in a moment",
            ),
            _ => Failure::internal("use the store", &chain(&error)),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Document { .. } | ReadError::Newer { .. } => {
                Failure::internal("read a document", &chain(&error))
            }
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Failure {
        match error {
            CommitError::Conflict => Failure::Conflict,
            CommitError::NoQuorum => {
                let message =
                    "too few of the cluster's control nodes are there: nothing was changed";
                Problem::new(Code::NoQuorum, message)
                    .hint("apps serve on and reads work; it ends by itself when enough of the others return. If they are gone for good: `clusterctl recover` on this node")
                    .into()
            }
            CommitError::Store(error) => error.into(),
        }
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Failure {
        Failure::internal("open a sealed value", &error)
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        problem_response(&self.into_problem())
    }
}

/// A problem as an answer; `request::one_error_shape` puts the request id in.
pub(super) fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.code.status())
        .expect("codes have statuses between 400 and 599");
    let mut response = (status, Json(problem)).into_response();
    response.extensions_mut().insert(problem.clone());
    response
}

pub(super) async fn no_such_endpoint() -> Response {
    problem_response(
        &Problem::new(Code::NotFound, "there is nothing at this path")
            .hint("`/v1/openapi.json` lists what there is"),
    )
}

pub(super) async fn no_such_method() -> Response {
    let problem = Problem::new(Code::Invalid, "this path does not take that method");
    let mut response = problem_response(&problem.hint("`/v1/openapi.json` lists what there is"));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// A JSON body, whatever its declared type; an empty one reads as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Body<T>, Failure> {
        let bytes = Bytes::from_request(request, api).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let most = super::MAX_BODY_BYTES / (1024 * 1024);
                let problem =
                    Problem::new(Code::TooLarge, format!("the request is larger than {most} MiB"));
                return Failure::from(problem);
            }
            Failure::invalid("the request's body broke off")
        })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let body = serde_json::from_slice(text).map_err(|error| {
            Failure::invalid(format!("the request's body is not as it must be: {error}"))
        })?;
        Ok(Body(body))
    }
}

/// A time as users read it: RFC 3339, UTC.
pub(super) fn rfc3339(time: Time) -> String {
    let ms = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// How often a write that lost a race is tried again.
pub(super) const WRITE_ATTEMPTS: usize = 8;
