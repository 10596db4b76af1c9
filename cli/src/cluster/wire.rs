//! One small HTTP/1.1 request over a connection of one's own: to admin endpoints and to the Docker Engine's socket.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A machine that is there takes connections at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Answers are small JSON documents.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens, or we may not connect.
    #[error("connect")]
    Connect(#[source] std::io::Error),
    /// The server does not prove its name.
    #[error("verify the server")]
    Tls(#[source] std::io::Error),
    /// The authority or the name to verify is not usable.
    #[error("use the authority's certificate")]
    Authority,
    /// The answer did not come in time.
    #[error("get an answer within {0:?}")]
    Timeout(Duration),
    /// What is to be asked cannot be said in HTTP.
    #[error("write the request")]
    Malformed,
    /// The connection broke or was not HTTP.
    #[error("speak HTTP")]
    Protocol(#[source] hyper::Error),
    /// The answer broke off or is too large.
    #[error("read the answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// What is asked of an API.
pub struct Asked<'a> {
    /// The method.
    pub method: Method,
    /// The path, encoded.
    pub path: &'a str,
    /// Who asks.
    pub token: Option<&'a str>,
    /// A JSON document, or nothing.
    pub body: Vec<u8>,
}

/// Asks an API, whose certificate must prove its address.
pub async fn over_tls(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    asked: Asked<'_>,
    limit: Duration,
) -> Result<Answer, HttpError> {
    within(limit, async {
        let stream = dial(address, tls).await?;
        send(stream, request(address, asked)?).await
    })
    .await
}

/// The same, with an answer that is read as it comes. Only its beginning has a limit.
pub async fn stream_over_tls(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    asked: Asked<'_>,
    limit: Duration,
) -> Result<Response<Incoming>, HttpError> {
    within(limit, async {
        let stream = TokioIo::new(dial(address, tls).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(HttpError::Protocol)?;
        // What goes wrong with it is told to whoever reads the answer.
        tokio::spawn(connection);
        sender.send_request(request(address, asked)?).await.map_err(HttpError::Protocol)
    })
    .await
}

/// The whole of an answer that came as a stream.
pub async fn collected(response: Response<Incoming>) -> Result<Answer, HttpError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    Ok(Answer { status, body: body.map_err(HttpError::Body)?.to_bytes() })
}

async fn dial(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, HttpError> {
    let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    let stream = connecting
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(HttpError::Connect)?;
    let name = ServerName::from(address.ip());
    TlsConnector::from(tls).connect(name, stream).await.map_err(HttpError::Tls)
}

fn request(address: SocketAddr, asked: Asked<'_>) -> Result<Request<Full<Bytes>>, HttpError> {
    let mut request = Request::builder()
        .method(asked.method)
        .uri(asked.path)
        .header("host", address.to_string())
        .header("content-type", "application/json");
    if let Some(token) = asked.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::from(asked.body)).map_err(|_| HttpError::Malformed)
}

/// Asks a server on this machine.
pub async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<Answer, HttpError> {
    within(limit, async {
        let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
        exchange(stream, Method::GET, "localhost", path).await
    })
    .await
}

/// Asks for the first page of a site, as its visitors do, of the server at an address.
pub async fn visit(address: SocketAddr, host: &str, limit: Duration) -> Result<Answer, HttpError> {
    within(limit, async {
        let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
        exchange(stream, Method::GET, host, "/").await
    })
    .await
}

/// The same over TLS, trusting the authorities of a PEM file only.
pub async fn visit_over_tls(
    address: SocketAddr,
    host: &str,
    authority: &Path,
    limit: Duration,
) -> Result<Answer, HttpError> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).map_err(|_| HttpError::Authority)?;
    roots.add(certificate).map_err(|_| HttpError::Authority)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|_| HttpError::Authority)?;
    within(limit, async {
        let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.map_err(HttpError::Tls)?;
        exchange(stream, Method::GET, host, "/").await
    })
    .await
}

/// Asks a server behind a unix socket.
pub async fn over_socket(
    socket: &Path,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<Answer, HttpError> {
    within(limit, async {
        let stream = UnixStream::connect(socket).await.map_err(HttpError::Connect)?;
        exchange(stream, method, "localhost", path).await
    })
    .await
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(HttpError::Timeout(limit)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    method: Method,
    host: &str,
    path: &str,
) -> Result<Answer, HttpError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Full::default())
        .expect("paths are written here, encoded where they hold data");
    send(stream, request).await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, HttpError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(HttpError::Protocol)?;
    let asked =
        async { collected(sender.send_request(request).await.map_err(HttpError::Protocol)?).await };
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // The connection may be done before the answer has been taken from its buffer.
        ended = connection => match ended {
            Ok(()) => asked.await,
            Err(error) => Err(HttpError::Protocol(error)),
        },
    }
}
