//! Standard input as pieces of bytes, read by a thread of its own, as it cannot be read without blocking.

use std::io::Read as _;

use bytes::Bytes;
use tokio::sync::mpsc;

const PIECE_BYTES: usize = 32 << 10;
/// Pieces read ahead; more wait in the pipe.
const MAX_AHEAD: usize = 4;

/// Standard input.
pub struct Input(mpsc::Receiver<Bytes>);

impl Input {
    /// Starts to read.
    pub fn start() -> Input {
        let (sender, receiver) = mpsc::channel(MAX_AHEAD);
        std::thread::spawn(move || {
            let mut buffer = vec![0; PIECE_BYTES];
            let mut stdin = std::io::stdin().lock();
            loop {
                match stdin.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(length) => {
                        if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err()
                        {
                            return;
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        Input(receiver)
    }

    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}
