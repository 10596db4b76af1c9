//! A container's standard streams as raw bytes, over the engine's attach call.
//!
//! Written by hand, because the client library waits for whole messages: a terminal that begins with a byte below 3,
//! or one large write of a unit, must neither be misread nor held in memory.

use std::{io, path::Path};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, ReadHalf, WriteHalf},
    net::UnixStream,
};

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;
const HEADER: usize = 8;

/// Which stream bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The reading side.
#[derive(Debug)]
pub struct Output<R = ReadHalf<TokioIo<Upgraded>>> {
    from: R,
    /// With a terminal there are no headers.
    is_raw: bool,
    source: Source,
    /// Bytes of the current frame that are still to come.
    left: usize,
}

/// The writing side: standard input. Shutting it down closes the container's input.
pub type Input = WriteHalf<TokioIo<Upgraded>>;

/// Attaches to a container that has not been started yet.
pub async fn attach(socket: &Path, container: &str, tty: bool) -> io::Result<(Output, Input)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with the streams.
    tokio::spawn(connection.with_upgrades());
    let path = format!("/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1");
    let request = Request::post(path)
        .header("host", "docker")
        .header("connection", "Upgrade")
        .header("upgrade", "tcp")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(io::Error::other(format!("attach was answered with {}", answer.status())));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(io::Error::other)?;
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    Ok((Output::new(read, tty), write))
}

impl<R: tokio::io::AsyncRead + Unpin> Output<R> {
    fn new(from: R, is_raw: bool) -> Output<R> {
        Output { from, is_raw, source: Source::Stdout, left: 0 }
    }

    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> io::Result<Option<(Source, Bytes)>> {
        while !self.is_raw && self.left == 0 {
            if !self.read_header().await? {
                return Ok(None);
            }
        }
        let wanted = if self.is_raw { CHUNK } else { self.left.min(CHUNK) };
        let mut bytes = BytesMut::with_capacity(wanted);
        // The capacity may be larger than asked for; a frame must not be read beyond its end.
        let mut limited = (&mut self.from).take(wanted as u64);
        let read = limited.read_buf(&mut bytes).await?;
        if read == 0 {
            return if self.is_raw { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        self.left = self.left.saturating_sub(read);
        Ok(Some((self.source, bytes.freeze())))
    }

    /// False at a clean end.
    async fn read_header(&mut self) -> io::Result<bool> {
        let mut header = [0_u8; HEADER];
        let first = self.from.read(&mut header).await?;
        if first == 0 {
            return Ok(false);
        }
        self.from.read_exact(&mut header[first..]).await?;
        self.source = if header[0] == 2 { Source::Stderr } else { Source::Stdout };
        self.left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8], is_raw: bool) -> io::Result<Vec<(Source, Vec<u8>)>> {
        let mut output = Output::new(bytes, is_raw);
        let mut read = Vec::new();
        while let Some((source, bytes)) = output.next().await? {
            read.push((source, bytes.to_vec()));
        }
        Ok(read)
    }

    #[tokio::test]
    async fn frames_are_told_apart_and_their_bytes_are_not_touched() {
        let bytes = b"\x01\0\0\0\0\0\0\x03a\x02\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01!";
        let read = all(bytes, false).await.unwrap();
        assert_eq!(read, [(Source::Stdout, b"a\x02\0".to_vec()), (Source::Stderr, b"!".to_vec())]);
        assert!(all(&bytes[..9], false).await.is_err(), "a frame that is cut off is an error");
    }

    #[tokio::test]
    async fn a_terminal_may_begin_with_any_byte() {
        assert_eq!(all(b"\x01\x02", true).await.unwrap(), [(Source::Stdout, vec![1, 2])]);
    }

    #[tokio::test]
    async fn a_large_frame_comes_in_pieces() {
        let mut bytes = vec![1, 0, 0, 0, 0, 1, 0, 0];
        bytes.extend(vec![7; 65_536]);
        let read = all(&bytes, false).await.unwrap();
        assert!(read.len() >= 2 && read.iter().all(|(_, piece)| piece.len() <= CHUNK));
        assert_eq!(read.iter().map(|(_, piece)| piece.len()).sum::<usize>(), 65_536);
    }
}
