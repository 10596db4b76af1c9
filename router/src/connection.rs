//! One HTTP/1.1 connection to a unit: made, asked whether it is still open, and used for one request at a time.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, Shutdown, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::body::RequestBody;

/// The largest head a unit may answer with, and the buffer per connection.
const BUFFER: usize = 64 * 1024;

/// A connection on which a quiet unit's machine acknowledges nothing for this long is dead. The machine answers for
/// units that are merely slow.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// How often a quiet unit's machine is asked for a sign of life.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A connection to a unit. Dropping it closes it, whatever is under way on it.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<RequestBody>,
    socket: Arc<TcpStream>,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answered in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It was refused, or there is no way there.
    #[error("no connection")]
    Failed(#[source] io::Error),
}

impl ConnectError {
    /// Whether the unit is to blame, rather than this machine running out of ports or files.
    pub fn is_the_units_fault(&self) -> bool {
        match self {
            ConnectError::TimedOut(_) => true,
            ConnectError::Failed(error) => !matches!(
                error.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
                Some(
                    rustix::io::Errno::MFILE
                        | rustix::io::Errno::NFILE
                        | rustix::io::Errno::NOBUFS
                        | rustix::io::Errno::ADDRNOTAVAIL
                )
            ),
        }
    }
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(address: &str, timeout: Duration) -> Result<Connection, ConnectError> {
        let connected = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
        let stream = connected
            .map_err(|_| ConnectError::TimedOut(timeout))?
            .map_err(ConnectError::Failed)?;
        stream.set_nodelay(true).map_err(ConnectError::Failed)?;
        notice_death(&stream).map_err(|error| ConnectError::Failed(error.into()))?;
        let socket = Arc::new(stream);
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(Shared(socket.clone())))
            .await
            .map_err(|error| ConnectError::Failed(io::Error::other(error)))?;
        // It ends when the unit closes or the sender is dropped; its errors reach whoever waits for an answer.
        tokio::spawn(driver.with_upgrades());
        Ok(Connection { sender, socket })
    }

    /// Sends a request. The error holds the request if nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        // A new connection takes a moment until its task runs.
        if self.sender.ready().await.is_err() {
            tracing::trace!("the connection closed before a request was sent");
        }
        self.sender.try_send_request(request).await
    }

    /// Whether the last exchange on it has not ended yet.
    pub fn is_busy(&self) -> bool {
        !self.sender.is_ready() && !self.sender.is_closed()
    }

    /// Whether it is known to be closed.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it can carry a request as far as this machine can know: the socket itself is asked, because its task may
    /// not have run since the unit closed it.
    pub fn is_open(&self) -> bool {
        let mut byte = [0_u8; 1];
        let peeked =
            rustix::net::recv(&*self.socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        // Bytes nobody asked for are as bad as an end.
        self.sender.is_ready() && matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }
}

/// Has the kernel end a connection whose other machine has vanished, whether it owes us an acknowledgement or not.
fn notice_death(stream: &TcpStream) -> rustix::io::Result<()> {
    let dead_after_ms = u32::try_from(DEAD_AFTER.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, dead_after_ms)?;
    sockopt::set_tcp_keepidle(stream, ASK_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, ASK_EVERY)?;
    sockopt::set_socket_keepalive(stream, true)
}

/// Whether an exchange failed because nothing comes from the other machine, or there is no way to it.
pub fn is_silence(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            );
        }
        cause = inner.source();
    }
    false
}

/// A socket that is also looked at from outside the task that reads and writes it.
struct Shared(Arc<TcpStream>);

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl Shared {
    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, || self.0.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, || self.0.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&*self.0, Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_the_unit_closed_this_moment_is_not_open() {
        let unit = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = unit.local_addr().unwrap().to_string();
        let mut connection = Connection::open(&address, Duration::from_secs(5)).await.unwrap();
        let (stream, _) = unit.accept().unwrap();
        connection.sender.ready().await.unwrap();
        assert!(connection.is_open());
        // Nothing is awaited from here on, so the connection's own task cannot have noticed.
        drop(stream);
        assert!(!connection.is_open() && !connection.is_closed());
    }
}
