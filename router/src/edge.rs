//! The listeners: accept, TLS handshake, HTTP/1.1 or HTTP/2, and an orderly end.

use std::{
    convert::Infallible, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration,
};

use http::{HeaderValue, Request, StatusCode, header};
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::net::sockopt;
use service::Stop;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::{Limits, Timeouts},
    forward::Origin,
    proxy::Proxy,
};

/// Connections the kernel holds until they are accepted.
const BACKLOG: u32 = 4096;
/// Longest TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A failed accept (no file descriptors, say) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client that vanished is noticed by the kernel after this, and then three more probes.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// An HTTP/2 connection is pinged after this long without a frame, and given as long again.
const PING: Duration = Duration::from_secs(20);
const STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;

/// What all connections share.
#[derive(Debug)]
pub struct Edge {
    proxy: Arc<Proxy>,
    slots: Arc<Semaphore>,
    limits: Limits,
    timeouts: Timeouts,
    leave: Stop,
    stop: Stop,
}

/// Listens at an address that was free or whose last owner has only connections left.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Edge {
    /// Serves requests through `proxy` until its stop; from `leave` on nobody new.
    pub fn new(proxy: Arc<Proxy>, limits: Limits, leave: Stop) -> Arc<Edge> {
        let slots = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let (timeouts, stop) = (proxy.timeouts, proxy.stop.clone());
        Arc::new(Edge { proxy, slots, limits, timeouts, leave, stop })
    }

    /// Accepts until it is to leave, and then closes the listener. Connections live on in the proxy's tracker.
    pub async fn serve(self: Arc<Edge>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
        loop {
            let accepted = tokio::select! {
                () = self.leave.wait() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let slot = tokio::select! {
                () = self.stop.wait() => return,
                slot = self.slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            };
            let client = client.ip().to_canonical();
            let origin = Origin { client, is_secure: tls.is_some(), port };
            let (edge, tls) = (self.clone(), tls.clone());
            self.proxy.tracker.spawn(async move {
                edge.proxy.numbers.connections.add(1);
                edge.connection(stream, tls, origin).await;
                edge.proxy.numbers.connections.add(-1);
                drop(slot);
            });
        }
    }

    async fn connection(&self, stream: TcpStream, tls: Option<TlsAcceptor>, origin: Origin) {
        if let Err(error) = prepare(&stream) {
            return tracing::debug!(%error, "client connection ended at once");
        }
        let Some(tls) = tls else {
            return self.http1(TokioIo::new(stream), origin).await;
        };
        let handshake = tokio::select! {
            handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => handshake,
            () = self.stop.wait() => return,
        };
        match handshake {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(TokioIo::new(stream), origin).await;
            }
            Ok(Ok(stream)) => self.http1(TokioIo::new(stream), origin).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, client = %origin.client, "TLS handshake failed")
            }
            Err(_) => tracing::debug!(client = %origin.client, "TLS handshake took too long"),
        }
    }

    async fn http1<I: Read + Write + Unpin + Send + 'static>(&self, io: I, origin: Origin) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.client)
            .max_buf_size(self.limits.head_bytes)
            .serve_connection(io, service_fn(|request| self.answer(&origin, request)))
            .with_upgrades();
        self.to_the_end(connection, &self.stop, |it| it.graceful_shutdown()).await;
    }

    async fn http2<I: Read + Write + Unpin + Send + 'static>(&self, io: I, origin: Origin) {
        let proxy = self.proxy.clone();
        let answer = service_fn(move |request| {
            let proxy = proxy.clone();
            async move { Ok::<_, Infallible>(proxy.answer(&origin, request).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(self.limits.head_bytes).unwrap_or(u32::MAX))
            .serve_connection(io, answer);
        // Here the client is told which of its requests were taken, so that no silence has to be waited for.
        self.to_the_end(connection, &self.leave, |it| it.graceful_shutdown()).await;
    }

    async fn answer(
        &self,
        origin: &Origin,
        request: Request<Incoming>,
    ) -> Result<http::Response<crate::body::ResponseBody>, Infallible> {
        let mut response = self.proxy.answer(origin, request).await;
        if self.leave.is_set() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// Runs a connection; at the end its requests in flight are finished and no others taken.
    async fn to_the_end<C: Future<Output = hyper::Result<()>>>(
        &self,
        connection: C,
        end: &Stop,
        finish: impl Fn(Pin<&mut C>),
    ) {
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = end.wait() => {
                finish(connection.as_mut());
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "client connection ended");
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, TCP_KEEPALIVE)?;
    Ok(())
}
