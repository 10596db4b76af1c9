//! Connections between parts: each handshake uses the certificates as the files are at that moment, so that renewed ones
//! need no restart, and connections that are open go on.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, Error};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{CONNECT_TIMEOUT, Identity, IdentityError, KEEPALIVE};

/// Handshakes at a time; more callers wait in the kernel.
const MAX_HANDSHAKES: usize = 256;
/// A failed accept (no file descriptors, say) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A channel to a server of `server_role` at `address` (`host:port`). It connects on first use, gives up on a connect
/// after 3 s and pings an idle connection every 2 s, so that a dead peer is noticed within 4 s. Needs a running tokio.
pub fn channel(
    identity: &Identity,
    address: &str,
    server_role: &str,
) -> Result<Channel, IdentityError> {
    // The connector speaks TLS itself: given to tonic, certificates would be read once.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|cause| IdentityError::Address { address: address.to_owned(), cause })?;
    let (identity, role) = (identity.clone(), server_role.to_owned());
    let connector = service_fn(move |uri: Uri| {
        let (identity, role) = (identity.clone(), role.clone());
        async move { connect(&identity, &uri, &role).await.map(TokioIo::new) }
    });
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

async fn connect(identity: &Identity, uri: &Uri, role: &str) -> io::Result<Connection> {
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(identity.client_config());
    let connected = connector.connect(Identity::server_name(role), stream).await;
    let other = format!("{role} at {host}:{port}");
    match connected {
        Ok(stream) => Ok(Connection { stream, other }),
        Err(error) => Err(in_words(error, &other)),
    }
}

/// A connection to a server, which may refuse our certificate only after the handshake has ended for us.
struct Connection {
    stream: client::TlsStream<TcpStream>,
    other: String,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        read.map_err(|error| in_words(error, &self.other))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connections of callers with a certificate of the same authority, for a tonic server.
pub struct Incoming {
    listener: TcpListener,
    identity: Identity,
    handshakes: JoinSet<Handshake>,
    pause: Option<Pin<Box<Sleep>>>,
}

type Secured = server::TlsStream<TcpStream>;
type Handshake = (SocketAddr, io::Result<Secured>);

impl Incoming {
    pub(super) fn new(listener: TcpListener, identity: Identity) -> Incoming {
        Incoming { listener, identity, handshakes: JoinSet::new(), pause: None }
    }

    /// Takes callers until there is none, or as many as may be greeted at a time.
    fn accept(&mut self, context: &mut Context<'_>) {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return;
            }
            self.pause = None;
        }
        while self.handshakes.len() < MAX_HANDSHAKES {
            match self.listener.poll_accept(context) {
                Poll::Ready(Ok((stream, caller))) => {
                    let identity = self.identity.clone();
                    self.handshakes.spawn(async move { (caller, greet(&identity, stream).await) });
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "accept failed");
                    let mut pause = Box::pin(sleep(ACCEPT_PAUSE));
                    // Asked once, so that its end wakes us.
                    if pause.as_mut().poll(context).is_pending() {
                        self.pause = Some(pause);
                    }
                    return;
                }
                Poll::Pending => return,
            }
        }
    }
}

async fn greet(identity: &Identity, stream: TcpStream) -> io::Result<Secured> {
    stream.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(identity.server_config());
    timeout(CONNECT_TIMEOUT, acceptor.accept(stream)).await?
}

impl Stream for Incoming {
    type Item = io::Result<Secured>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.accept(context);
            match self.handshakes.poll_join_next(context) {
                Poll::Ready(Some(Ok((_, Ok(stream))))) => return Poll::Ready(Some(Ok(stream))),
                // Whoever only looks whether somebody listens.
                Poll::Ready(Some(Ok((_, Err(error))))) if is_end(&error) => {}
                Poll::Ready(Some(Ok((caller, Err(error))))) => {
                    let error = in_words(error, &format!("a caller at {caller}"));
                    tracing::warn!(%error, "a connection was refused");
                }
                Poll::Ready(Some(Err(error))) => tracing::error!(%error, "a handshake panicked"),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// A failed handshake as an operator understands it: whose certificate it is about, and what is wrong with it.
fn in_words(error: io::Error, other: &str) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let said = match tls {
        Some(Error::InvalidCertificate(problem)) => {
            format!("the certificate of {other} {}", theirs(problem))
        }
        Some(Error::AlertReceived(alert)) => match ours(*alert) {
            Some(problem) => format!("{other} refuses our certificate: {problem}"),
            None => return error,
        },
        Some(Error::NoCertificatesPresented) => format!("{other} shows no certificate"),
        _ => return error,
    };
    io::Error::new(error.kind(), said)
}

fn theirs(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired; see `clusterctl certs` there, and its clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; compare the clocks of the two machines".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not of this cluster".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is of another part".to_owned()
        }
        other => format!("cannot be trusted: {other}"),
    }
}

fn ours(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::CertificateExpired => {
            Some("it has expired; see `clusterctl certs`, and this machine's clock")
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            Some("it is not of its cluster")
        }
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            Some("it is not good there")
        }
        AlertDescription::CertificateRequired => Some("it saw none"),
        _ => None,
    }
}
