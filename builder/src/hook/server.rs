//! The builder's side of the hook's socket.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use service::{Stop, Tasks};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use super::{EXIT, MAX_REQUEST, OUTPUT, Request};
use crate::{output, push::Builds};

/// A hook that says nothing for this long is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A failed accept is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers hooks until `stop`.
pub async fn serve(listener: UnixListener, builds: Arc<Builds>, tasks: Tasks) {
    let stop = tasks.stop().clone();
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let builds = builds.clone();
                tasks.spawn("push", async move {
                    if let Err(error) = answer(stream, &builds).await {
                        tracing::debug!(%error, "a hook went away");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept on the hook's socket failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, builds: &Builds) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut limited = (&mut read).take(MAX_REQUEST);
    tokio::time::timeout(REQUEST_TIMEOUT, limited.read_until(b'\n', &mut line)).await??;
    let request: Request = serde_json::from_slice(&line)?;
    let (sender, receiver) = mpsc::channel(output::WAITING);
    let gone = Stop::new();
    let build = async {
        let accepted = builds.receive(&request, sender, gone.clone()).await;
        u8::from(!accepted)
    };
    let (code, sent) = tokio::join!(build, send_output(write, receiver, read, &gone));
    let mut write = sent?;
    frame(&mut write, EXIT, &[code]).await
}

/// Copies output to the hook until there is no more, and tells when the hook is gone.
async fn send_output(
    mut write: OwnedWriteHalf,
    mut receiver: mpsc::Receiver<Bytes>,
    mut read: BufReader<OwnedReadHalf>,
    gone: &Stop,
) -> io::Result<OwnedWriteHalf> {
    let copy = async {
        while let Some(bytes) = receiver.recv().await {
            frame(&mut write, OUTPUT, &bytes).await?;
        }
        Ok(())
    };
    let mut rest = [0; 1];
    let ended = tokio::select! {
        copied = copy => copied,
        // The hook sends nothing more; reading ends when it does.
        _ = read.read(&mut rest) => Err(io::ErrorKind::BrokenPipe.into()),
    };
    if ended.is_err() {
        gone.set();
        receiver.close();
    }
    ended.map(|()| write)
}

async fn frame(write: &mut OwnedWriteHalf, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    write.write_all(&frame).await
}
