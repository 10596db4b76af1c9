//! Standard output and error, written by a thread of their own: a reader that takes its time stops the
//! command's output, but not our part of the conversation.

use std::io::{ErrorKind, Write as _};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::output;
use crate::paas::failure::Failure;

/// Pieces handed to the thread ahead of the reader.
const MAX_AHEAD: usize = 4;

/// Bytes for one of the two.
#[derive(Debug)]
pub enum Piece {
    /// Standard output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
}

/// Prints pieces in their order.
pub struct Printer {
    waiting: Option<Piece>,
    sender: mpsc::Sender<Piece>,
    done: oneshot::Receiver<()>,
}

impl Printer {
    /// Starts the thread.
    pub fn start() -> Printer {
        let (sender, mut receiver) = mpsc::channel(MAX_AHEAD);
        let (end, done) = oneshot::channel();
        std::thread::spawn(move || {
            while let Some(piece) = receiver.blocking_recv() {
                match piece {
                    Piece::Stdout(bytes) => output::raw(&bytes),
                    Piece::Stderr(bytes) => error_output(&bytes),
                }
            }
            let _ = end.send(());
        });
        Printer { waiting: None, sender, done }
    }

    /// Whether a piece may be given.
    pub fn has_room(&self) -> bool {
        self.waiting.is_none()
    }

    /// Prints a piece, now or as soon as there is room for it.
    pub fn print(&mut self, piece: Piece) {
        if let Err(mpsc::error::TrySendError::Full(piece)) = self.sender.try_send(piece) {
            self.waiting = Some(piece);
        }
    }

    /// Returns when what waited has gone on. May be dropped and called again.
    pub async fn flow(&mut self) {
        if self.waiting.is_none() {
            return;
        }
        let permit = self.sender.reserve().await;
        if let (Ok(permit), Some(piece)) = (permit, self.waiting.take()) {
            permit.send(piece);
        }
    }

    /// Returns when everything is written.
    pub async fn finish(mut self) -> Result<(), Failure> {
        self.flow().await;
        drop(self.sender);
        self.done.await.map_err(|error| Failure::local("write the output", error))
    }
}

fn error_output(bytes: &[u8]) {
    let mut stderr = std::io::stderr().lock();
    match stderr.write_all(bytes).and_then(|()| stderr.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            std::process::exit(output::READER_GONE)
        }
        // There is no other place to say it.
        Ok(()) | Err(_) => {}
    }
}
