//! The API over TLS: HTTP/1.1 and HTTP/2, websockets, and an end to everything at a stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use service::identity::{CERT_FILE, KEY_FILE};
use service::{Fresh, Stop};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Open connections; more wait.
const MAX_CONNECTIONS: usize = 2_000;
/// How long a client may take for its TLS handshake, and for the head of a request.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// A silent HTTP/2 client is pinged after this long, and given as long again to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long requests in flight may take after a stop.
const DRAIN: Duration = Duration::from_secs(5);
/// A failed accept (no file descriptors, say) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Reads the certificate and key of the API, and again when they are renewed.
pub fn server_config(folder: &Path) -> anyhow::Result<Fresh<ServerConfig>> {
    let [certificate, key] = [CERT_FILE, KEY_FILE].map(|file| folder.join(file));
    let files = vec![certificate.clone(), key.clone()];
    Fresh::new("certificate of the API", files, move || read_config(&certificate, &key))
}

fn read_config(certificate: &Path, key: &Path) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("read the API's certificate `{}`", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("read the API's key `{}`", key.display()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("set up TLS of the API")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Serves until `stop`; what is in flight then gets a moment to end.
pub async fn serve(listener: TcpListener, tls: Fresh<ServerConfig>, router: Router, stop: Stop) {
    let server = Server { builder: builder(), router, graceful: GracefulShutdown::new() };
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let slot = slots.clone().acquire_owned();
        let slot = tokio::select! {
            () = stop.wait() => break,
            slot = slot => slot.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.wait() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, address)) => {
                let acceptor = TlsAcceptor::from(tls.get());
                let connection = server.connection(stream, address, acceptor);
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept on the API failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Dropping the set ends the rest: streams that have no end, and handshakes.
    let _ = tokio::time::timeout(DRAIN, server.graceful.shutdown()).await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .enable_connect_protocol();
    builder
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    graceful: GracefulShutdown,
}

impl Server {
    fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        acceptor: TlsAcceptor,
    ) -> impl Future<Output = ()> + Send + 'static {
        let builder = self.builder.clone();
        let (router, watcher) = (self.router.clone(), self.graceful.watcher());
        async move {
            let _ = stream.set_nodelay(true);
            let secured = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await;
            let Ok(Ok(stream)) = secured else { return };
            let service = tower::service_fn(move |mut request: Request<_>| {
                request.extensions_mut().insert(ConnectInfo(address));
                let router = router.clone();
                async move {
                    Ok::<_, Infallible>(
                        router.oneshot(request).await.unwrap_or_else(|never| match never {}),
                    )
                }
            });
            let service = TowerToHyperService::new(service);
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(error, "an API connection ended");
            }
        }
    }
}

#[cfg(test)]
mod tests;
