//! Accepts connections and hands their requests to `answer`.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use service::Stop;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::answer::Answers;

/// More connections than this wait in the listener's queue. Docker opens five for a push and three for a pull.
const MAX_CONNECTIONS: usize = 256;
/// A client that sends no request for this long is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests under way at a stop get this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// A failed accept (no file descriptors, say) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets the requests under way end.
pub async fn serve(listener: TcpListener, answers: Answers, stop: Stop) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => break,
            accepted = async {
                let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
                listener.accept().await.map(|(stream, _)| (stream, slot))
            } => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let connection = graceful.watch(connection(stream, answers.clone()));
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still under way are cut off");
    }
    Ok(())
}

fn connection(
    stream: TcpStream,
    answers: Answers,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "set no-delay failed");
    }
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.answer(request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
}
