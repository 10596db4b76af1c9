//! Bodies in both directions, streamed: one bounded queue between the socket and the disk, so memory stays flat.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use service::Counter;
use tokio::{
    io::AsyncReadExt,
    sync::{OwnedMutexGuard, mpsc},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::io::ReaderStream;

use crate::{refusal::Refusal, uploads::Partial};

/// A client that sends nothing for this long in the middle of a body is cut off.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that is refused may go on sending for this long before it is cut off.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pieces of a body that may wait for the disk; each is at most hyper's read buffer.
const QUEUE: usize = 4;
/// A blob is read in pieces of this size.
const READ_BYTES: usize = 256 << 10;

/// The body of an answer.
pub type AnswerBody = BoxBody<Bytes, io::Error>;

/// No body.
pub fn empty() -> AnswerBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// These bytes.
pub fn full(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// `length` bytes of a file from `first` on.
pub fn file(mut file: File, first: u64, length: u64, sent: Counter) -> io::Result<AnswerBody> {
    file.seek(SeekFrom::Start(first))?;
    let reader = tokio::fs::File::from_std(file).take(length);
    let frames = ReaderStream::with_capacity(reader, READ_BYTES).map_ok(move |bytes| {
        sent.add(bytes.len() as u64);
        Frame::data(bytes)
    });
    Ok(BodyExt::boxed(StreamBody::new(frames)))
}

/// An upload's content, held by one request.
pub type Held = OwnedMutexGuard<Option<Partial>>;

/// Writes a request's body to an upload. The hold goes to the writing thread, so that it is released only when the
/// thread is done, also when the client goes away in the middle.
pub async fn receive(
    body: &mut Incoming,
    mut held: Held,
    received: &Counter,
) -> Result<Held, Refusal> {
    if body.is_end_stream() {
        return Ok(held);
    }
    let (pieces, mut queue) = mpsc::channel::<Bytes>(QUEUE);
    let writing = spawn_blocking(move || {
        let partial = held.as_mut().ok_or_else(Refusal::upload_unknown)?;
        while let Some(piece) = queue.blocking_recv() {
            if let Err(refusal) = partial.write(&piece) {
                *held = None;
                return Err(refusal);
            }
        }
        Ok(held)
    });
    let mut read = Ok(());
    while let Some(piece) = next(body).await.transpose() {
        match piece {
            Ok(piece) => {
                received.add(piece.len() as u64);
                if pieces.send(piece).await.is_err() {
                    // The writer gave up; its reason is the answer.
                    break;
                }
            }
            Err(refusal) => {
                read = Err(refusal);
                break;
            }
        }
    }
    drop(pieces);
    let held = writing.await.map_err(|_| Refusal::internal())??;
    read.map(|()| held)
}

/// Reads a whole body of at most `limit` bytes.
pub async fn collect(body: &mut Incoming, limit: usize) -> Result<Vec<u8>, Refusal> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::manifest_too_large(limit));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = next(body).await? {
        if bytes.len() + piece.len() > limit {
            return Err(Refusal::manifest_too_large(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Reads what is left of a body and forgets it. A client that is answered and cut off while it still sends would see
/// a broken connection instead of the answer.
pub async fn discard(body: &mut Incoming) {
    // Ended, failed or too slow: in each case there is nothing more to do.
    let _ = timeout(DISCARD_TIMEOUT, async { while let Ok(Some(_)) = next(body).await {} }).await;
}

/// The next piece of data; none at the end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = timeout(IDLE_TIMEOUT, body.frame()).await;
        let frame = frame.map_err(|_| Refusal::size_invalid("the body stopped in the middle"))?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Refusal::size_invalid("the body was cut short")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
