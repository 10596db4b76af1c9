//! Sending a request to a unit and waiting for its answer, with the retries that cannot do harm.
//!
//! | what failed | what follows |
//! |---|---|
//! | no connection could be made | another unit, whatever the request; all of them again for up to a second |
//! | the request was not written | the same unit on a new connection |
//! | a connection died: its node is silent | another unit, if the request may be repeated; the unit is left alone |
//! | an idle connection broke before an answer | again on a new connection, if the request may be repeated |
//! | a new connection broke before an answer | one other attempt, if the request may be repeated |
//! | no answer in time | nothing: the unit may be working on it |

use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use std::sync::Arc;

use super::Proxy;
use crate::{
    answer::Refusal,
    body::{Activity, RequestBody},
    connection::{self, ConnectError, Connection},
    fleet::NoUnit,
    pool::Sending,
    unit::{Claim, Unit},
};

/// How long all units of an app are tried again when none takes a connection.
const REACH_FOR: Duration = Duration::from_secs(1);
/// The pause before all are tried again.
const REACH_PAUSE: Duration = Duration::from_millis(50);
/// No further unit is tried after this, as when connections to many of them time out.
const REACH_AT_MOST: Duration = Duration::from_secs(10);
/// How long one connection attempt may take while there is another unit to try.
const SHORT_ATTEMPT: Duration = Duration::from_secs(1);
/// Most times a request is sent in all.
const MAX_SENT: u32 = 4;
/// How many new connections may break under a request that may be repeated: it might be what breaks them.
const MAX_BROKEN: u32 = 2;

/// A request on its way to a unit.
pub struct Sent {
    /// As the unit gets it.
    pub request: Request<RequestBody>,
    /// When its body last moved.
    pub activity: Arc<Activity>,
    /// It is not to go over a connection that served before.
    pub needs_fresh: bool,
}

/// A unit's answer.
pub struct Answer {
    /// Its head and the stream of its body.
    pub response: Response<Incoming>,
    /// The unit, counted as busy.
    pub claim: Claim,
    /// The connection it came over.
    pub connection: Connection,
}

/// What has been tried for a request so far.
#[derive(Default)]
struct Attempts {
    tried: Vec<Arc<Unit>>,
    first_failure: Option<Duration>,
    timed_out: bool,
    sent: u32,
    broken: u32,
}

/// How one sending ended without an answer.
enum Failure {
    /// Nothing was written.
    Unsent(Box<Request<RequestBody>>),
    /// The connection broke.
    Broken,
    /// Nothing comes from the unit's node any more.
    Dead,
    /// No answer in time.
    Silent,
}

impl Proxy {
    /// Gets an answer from a unit of the app that answers to `host`.
    pub async fn exchange(&self, host: &str, sent: Sent) -> Result<Answer, Refusal> {
        let Sent { mut request, activity, mut needs_fresh } = sent;
        let sending = sending(&request);
        let mut attempts = Attempts::default();
        loop {
            let claim = self.reach(host, &mut attempts).await?;
            let pooled = if needs_fresh { None } else { self.pooled(&claim, sending) };
            let is_reused = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => match self.connect(host, &claim, &mut attempts).await {
                    Some(connection) => connection,
                    None => continue,
                },
            };
            let spare = (sending == Sending::Repeatable).then(|| copy_of(&request));
            attempts.sent += 1;
            let failure = match self.send(&mut connection, request, &activity).await {
                Ok(response) => return Ok(Answer { response, claim, connection }),
                Err(failure) => failure,
            };
            match failure {
                Failure::Silent => {}
                Failure::Dead => {
                    claim.unit().failed(self.clock.monotonic());
                    attempts.tried.push(claim.unit().clone());
                }
                Failure::Unsent(_) | Failure::Broken if is_reused => claim.unit().pool.broke(),
                Failure::Unsent(_) | Failure::Broken => attempts.tried.push(claim.unit().clone()),
            }
            request = attempts.again(failure, spare, is_reused, &activity)?;
            self.numbers.retries.add(1);
            needs_fresh = true;
        }
    }

    /// Chooses a unit, going round all of them again for a while when none takes a connection.
    async fn reach(&self, host: &str, attempts: &mut Attempts) -> Result<Claim, Refusal> {
        loop {
            let spent =
                attempts.first_failure.map(|first| self.clock.since(first)).unwrap_or_default();
            if spent > REACH_AT_MOST {
                return Err(attempts.unreachable());
            }
            match self.fleet.claim(host, &attempts.tried) {
                Ok(claim) => return Ok(claim),
                Err(NoUnit::AllTried) if spent < REACH_FOR => {
                    tokio::time::sleep(REACH_PAUSE).await;
                    attempts.tried.clear();
                }
                Err(NoUnit::AllTried) => return Err(attempts.unreachable()),
                Err(no_unit) => return Err(Refusal::NoUnit(no_unit)),
            }
        }
    }

    fn pooled(&self, claim: &Claim, sending: Sending) -> Option<Connection> {
        claim.unit().pool.take(sending, self.clock.monotonic(), self.timeouts.pool_idle)
    }

    async fn connect(
        &self,
        host: &str,
        claim: &Claim,
        attempts: &mut Attempts,
    ) -> Option<Connection> {
        let unit = claim.unit();
        let mut patience = self.timeouts.connect;
        if self.fleet.has_another(host, unit, &attempts.tried) {
            patience = patience.min(SHORT_ATTEMPT);
        }
        match Connection::open(&unit.address, patience).await {
            Ok(connection) => {
                unit.worked();
                Some(connection)
            }
            Err(error) => {
                let now = self.clock.monotonic();
                if error.is_the_units_fault() {
                    unit.failed(now);
                }
                tracing::debug!(unit = %unit.id, address = unit.address, ?error, "no connection to the unit");
                attempts.first_failure.get_or_insert(now);
                attempts.timed_out = matches!(error, ConnectError::TimedOut(_));
                attempts.tried.push(unit.clone());
                self.numbers.retries.add(1);
                None
            }
        }
    }

    async fn send(
        &self,
        connection: &mut Connection,
        request: Request<RequestBody>,
        activity: &Activity,
    ) -> Result<Response<Incoming>, Failure> {
        activity.moved();
        tokio::select! {
            answered = connection.send(request) => answered.map_err(|mut error| match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None if connection::is_silence(error.error()) => Failure::Dead,
                None => Failure::Broken,
            }),
            () = activity.silent_for(self.timeouts.first_byte) => Err(Failure::Silent),
        }
    }
}

impl Attempts {
    /// The request to send again, or the end.
    fn again(
        &mut self,
        failure: Failure,
        spare: Option<Request<RequestBody>>,
        is_reused: bool,
        activity: &Activity,
    ) -> Result<Request<RequestBody>, Refusal> {
        let request = match failure {
            Failure::Silent if activity.is_complete() => return Err(Refusal::Silent),
            Failure::Silent => return Err(Refusal::ClientSilent),
            Failure::Unsent(request) => *request,
            Failure::Dead => spare.ok_or(Refusal::Broken)?,
            Failure::Broken => {
                self.broken += u32::from(!is_reused);
                spare.filter(|_| self.broken < MAX_BROKEN).ok_or(Refusal::Broken)?
            }
        };
        if self.sent < MAX_SENT { Ok(request) } else { Err(Refusal::Broken) }
    }

    fn unreachable(&self) -> Refusal {
        if self.timed_out { Refusal::Silent } else { Refusal::Unreachable }
    }
}

fn sending(request: &Request<RequestBody>) -> Sending {
    let is_idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    match request.body() {
        RequestBody::Empty if is_idempotent => Sending::Repeatable,
        RequestBody::Empty | RequestBody::Client { .. } => Sending::Once,
    }
}

/// A request without body, once more.
fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
