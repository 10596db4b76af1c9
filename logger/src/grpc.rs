//! The gRPC side: checks the caller, hands batches to the scribe, streams lines to readers.

use std::{mem, sync::Arc};

use model::name::{AppName, NameError, NodeName};
use proto::logger::{
    AppendAnswer, AppendRequest, ForgetAnswer, ForgetRequest, LineBatch, OriginsAnswer,
    OriginsRequest, ReadRequest, ShipRequest,
    logger_server::{Logger, LoggerServer},
};
use service::{Gauge, Metrics, Stop};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::spawn_blocking,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{
    filter::Filter,
    intake,
    reader::Reader,
    scribe::{Limits, Opened, Place, Scribe, ScribeError},
    shipping::Shipping,
};

/// More readers at once are refused.
const MAX_READERS: usize = 256;
/// Messages on their way to one reader.
const QUEUE: usize = 2;

/// The service over a scribe.
pub struct Service {
    scribe: Scribe,
    limits: Limits,
    shipping: Shipping,
    readers: Arc<Semaphore>,
    reading: Gauge,
    stop: Stop,
}

impl Service {
    /// Ready for a tonic server.
    pub fn server(
        (scribe, limits): (Scribe, Limits),
        shipping: Shipping,
        metrics: &Metrics,
        stop: Stop,
    ) -> LoggerServer<Service> {
        let reading = metrics.gauge("logger_readers", "Readers being served.");
        let readers = Arc::new(Semaphore::new(MAX_READERS));
        LoggerServer::new(Service { scribe, limits, shipping, readers, reading, stop })
    }
}

#[tonic::async_trait]
impl Logger for Service {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendAnswer>, Status> {
        let peer = service::peer(&request)?;
        peer.require_role(&["agent", "builder", "controller"])?;
        let batch = intake::check(&peer.to_string(), request.into_inner())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if !batch.apps.is_empty() {
            let shipped = self.shipping.ship(batch.clone());
            let (stored, ()) = tokio::join!(self.scribe.append(batch), shipped);
            stored.map_err(status)?;
        }
        Ok(Response::new(AppendAnswer {}))
    }

    async fn ship(&self, request: Request<ShipRequest>) -> Result<Response<AppendAnswer>, Status> {
        let peer = service::peer(&request)?;
        peer.require_role(&["logger"])?;
        if !self.shipping.is_member(&peer.node) {
            return Err(Status::permission_denied(format!("{peer} is not of this cluster")));
        }
        let origin = node_name(&peer.node)?;
        let batch = intake::check_shipped(origin, request.into_inner())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.scribe.append(batch).await.map_err(status)?;
        Ok(Response::new(AppendAnswer {}))
    }

    async fn origins(
        &self,
        request: Request<OriginsRequest>,
    ) -> Result<Response<OriginsAnswer>, Status> {
        service::peer(&request)?.require_role(&["controller"])?;
        let app = app_name(&request.into_inner().app)?;
        let limits = self.limits.clone();
        let origins = spawn_blocking(move || limits.origins(&app)).await.map_err(panicked)?;
        let nodes = origins.map_err(failed)?.iter().map(ToString::to_string).collect();
        Ok(Response::new(OriginsAnswer { nodes }))
    }

    type ReadStream = BoxStream<LineBatch>;

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        service::peer(&request)?.require_role(&["controller"])?;
        let ReadRequest { app, lines, follow, process, since_ms, origin } = request.into_inner();
        let app = app_name(&app)?;
        let slot = self.readers.clone().try_acquire_owned();
        let slot = slot.map_err(|_| Status::resource_exhausted("too many readers"))?;
        let origin = if origin.is_empty() { None } else { Some(node_name(&origin)?) };
        let place = Place { origin, app: app.clone() };
        let Opened { folder, mut end } = self.scribe.open(place).await.map_err(status)?;
        let until = *end.borrow_and_update();
        let filter = Filter { process, since_ms };
        let open = move || Reader::open(app.to_string(), folder, filter, lines, until);
        let reader = spawn_blocking(open).await.map_err(panicked)?.map_err(failed)?;
        let (messages, stream) = mpsc::channel(QUEUE);
        let session = Session { reader, messages, reading: self.reading.clone(), _slot: slot };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = session.run(end, follow) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn forget(
        &self,
        request: Request<ForgetRequest>,
    ) -> Result<Response<ForgetAnswer>, Status> {
        service::peer(&request)?.require_role(&["controller"])?;
        let app = app_name(&request.into_inner().app)?;
        self.scribe.forget(app).await.map_err(status)?;
        Ok(Response::new(ForgetAnswer {}))
    }
}

type End = tokio::sync::watch::Receiver<crate::segments::End>;
type Messages = mpsc::Sender<Result<LineBatch, Status>>;

/// One reader being served.
struct Session {
    reader: Reader,
    messages: Messages,
    reading: Gauge,
    _slot: OwnedSemaphorePermit,
}

impl Session {
    async fn run(self, mut end: End, follow: bool) {
        let Session { mut reader, messages, reading, _slot } = self;
        let _counted = Counted::new(reading);
        let mut is_caught_up = false;
        loop {
            let until = *end.borrow_and_update();
            reader = match send_until(reader, until, &messages).await {
                Some(reader) => reader,
                None => return,
            };
            if !follow {
                return;
            }
            if !mem::replace(&mut is_caught_up, true) {
                let told = LineBatch { caught_up: true, ..LineBatch::default() };
                if messages.send(Ok(told)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = messages.closed() => return,
                // Closed: the log was deleted.
                changed = end.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Sends everything up to a place; none if the reader is gone or reading failed.
async fn send_until(
    mut reader: Reader,
    until: crate::segments::End,
    messages: &Messages,
) -> Option<Reader> {
    loop {
        let read = spawn_blocking(move || {
            let batches = reader.next(until);
            (reader, batches)
        });
        let (back, batches) = read.await.ok()?;
        reader = back;
        match batches {
            Ok(batches) if batches.is_empty() => return Some(reader),
            Ok(batches) => {
                for batch in batches {
                    messages.send(Ok(batch)).await.ok()?;
                }
            }
            Err(error) => {
                // The reader may be gone, too.
                let _ = messages.send(Err(failed(error))).await;
                return None;
            }
        }
    }
}

/// Counts while it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Counted {
        gauge.add(1);
        Counted(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

fn app_name(text: &str) -> Result<AppName, Status> {
    text.parse().map_err(|error: NameError| Status::invalid_argument(error.to_string()))
}

fn node_name(text: &str) -> Result<NodeName, Status> {
    text.parse().map_err(|error: NameError| Status::invalid_argument(error.to_string()))
}

fn status(error: ScribeError) -> Status {
    let message = error.to_string();
    match error {
        ScribeError::DiskFull | ScribeError::Busy => Status::resource_exhausted(message),
        ScribeError::Io => Status::internal(message),
        ScribeError::Stopped => Status::unavailable(message),
    }
}

fn failed(error: std::io::Error) -> Status {
    tracing::error!(%error, "a log could not be read");
    Status::internal("the log could not be read")
}

fn panicked(_: tokio::task::JoinError) -> Status {
    Status::internal("reading panicked")
}
