//! A connection after a protocol change, such as a websocket: bytes in both directions until one side ends or both are silent.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use service::Stop;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use crate::body::Activity;

/// Per direction.
const BUFFER: usize = 16 * 1024;
/// How long a tunnel may go on after a stop; its client then connects anew.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Both ends of a changed protocol.
pub struct Tunnel {
    /// The client's end.
    pub client: OnUpgrade,
    /// The unit's end.
    pub unit: OnUpgrade,
    /// When bytes last came in.
    pub activity: Arc<Activity>,
    /// Ended after this long without a byte.
    pub idle: Duration,
}

impl Tunnel {
    /// Carries bytes to the end.
    pub async fn run(self, stop: &Stop) {
        let activity = self.activity.clone();
        let idle = self.idle;
        let ended = tokio::select! {
            carried = self.carry() => carried.map(|_| ()),
            () = activity.silent_for(idle) => Err(io::ErrorKind::TimedOut.into()),
            () = grace(stop) => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "upgraded connection ended");
        }
    }

    async fn carry(self) -> io::Result<(u64, u64)> {
        let ends = tokio::try_join!(self.client, self.unit);
        let (client, unit) = ends.map_err(io::Error::other)?;
        let watched =
            |upgraded| Watched { inner: TokioIo::new(upgraded), activity: self.activity.clone() };
        let (mut client, mut unit) = (watched(client), watched(unit));
        copy_bidirectional_with_sizes(&mut client, &mut unit, BUFFER, BUFFER).await
    }
}

async fn grace(stop: &Stop) {
    stop.wait().await;
    tokio::time::sleep(STOP_GRACE).await;
}

/// Tells of every byte that comes in.
struct Watched<T> {
    inner: T,
    activity: Arc<Activity>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if read.is_ready() {
            self.activity.moved();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
