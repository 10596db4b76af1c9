//! Bodies on their way through: passed on frame by frame, watched for silence, and the unit's connection given back at their end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use service::Clock;
use tokio::time::{Instant, Sleep};

use crate::{connection::Connection, unit::Claim};

/// When something last moved.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    moved_ms: AtomicU64,
    is_complete: AtomicBool,
}

impl Activity {
    /// Moved now.
    pub fn new(clock: Clock) -> Arc<Activity> {
        let activity =
            Activity { clock, moved_ms: AtomicU64::new(0), is_complete: AtomicBool::new(false) };
        activity.moved();
        Arc::new(activity)
    }

    /// Something moved.
    pub fn moved(&self) {
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(now, Ordering::Relaxed);
    }

    /// All has moved that will.
    pub fn complete(&self) {
        self.moved();
        self.is_complete.store(true, Ordering::Relaxed);
    }

    /// Whether all has moved.
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }

    /// Returns when nothing has moved for `limit`.
    pub async fn silent_for(&self, limit: Duration) {
        loop {
            let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
            let silence = self.clock.since(moved);
            if silence >= limit {
                return;
            }
            tokio::time::sleep(limit - silence).await;
        }
    }
}

/// What a client sends.
#[derive(Debug)]
pub enum RequestBody {
    /// Nothing; such a request can be sent again.
    Empty,
    /// A stream that can be read once.
    Client {
        /// The stream.
        inner: Incoming,
        /// Told of every frame.
        activity: Arc<Activity>,
    },
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Client { inner, activity } => {
                let frame = ready!(Pin::new(&mut *inner).poll_frame(context));
                if frame.is_none() || inner.is_end_stream() {
                    activity.complete();
                } else {
                    activity.moved();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Client { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Client { inner, .. } => inner.size_hint(),
        }
    }
}

/// What a client gets.
#[derive(Debug)]
pub enum ResponseBody {
    /// From the router itself.
    Own(Full<Bytes>),
    /// From a unit.
    Unit(UnitBody),
}

/// A unit's answer while it is read. Dropped early, it closes the unit's connection.
#[derive(Debug)]
pub struct UnitBody {
    inner: Incoming,
    exchange: Option<Exchange>,
    silence_limit: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

/// What an answer under way holds on to.
#[derive(Debug)]
pub struct Exchange {
    /// The unit, counted as busy.
    pub claim: Claim,
    /// The connection to it.
    pub connection: Connection,
    /// The unit said that it keeps the connection open.
    pub is_kept: bool,
    /// Tells when the connection became idle.
    pub clock: Clock,
}

impl Exchange {
    fn end(self) {
        if self.is_kept {
            self.claim.unit().pool.put(self.connection, self.clock.monotonic());
        }
    }
}

impl UnitBody {
    /// Passes `inner` on; `silence_limit` is how long the unit may send nothing.
    pub fn new(inner: Incoming, exchange: Exchange, silence_limit: Duration) -> UnitBody {
        let mut body = UnitBody { inner, exchange: Some(exchange), silence_limit, silence: None };
        body.end_if_complete();
        body
    }

    /// Servers do not poll a body again that says it has ended, so it is asked after every frame.
    fn end_if_complete(&mut self) {
        if self.inner.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.end();
        }
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.silence_limit;
        self.silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)))
            .as_mut()
            .poll(context)
    }
}

/// Why an answer could not be passed on to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The unit's connection failed.
    #[error("read the unit's answer")]
    Unit(#[source] hyper::Error),
    /// The unit sent nothing for too long.
    #[error("read the unit's answer: it sent nothing for {0:?}")]
    Silent(Duration),
}

impl Body for UnitBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut body.inner).poll_frame(context) else {
            ready!(body.poll_silence(context));
            return Poll::Ready(Some(Err(BodyError::Silent(body.silence_limit))));
        };
        match frame {
            Some(Ok(frame)) => {
                if let Some(silence) = &mut body.silence {
                    silence.as_mut().reset(Instant::now() + body.silence_limit);
                }
                body.end_if_complete();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(BodyError::Unit(error)))),
            None => {
                body.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            ResponseBody::Own(own) => {
                Pin::new(own).poll_frame(context).map_err(|never| match never {})
            }
            ResponseBody::Unit(unit) => Pin::new(unit).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Own(own) => own.is_end_stream(),
            ResponseBody::Unit(unit) => unit.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Own(own) => own.size_hint(),
            ResponseBody::Unit(unit) => unit.size_hint(),
        }
    }
}
