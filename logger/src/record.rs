//! What a frame carries: the lines of one batch for one app, and which batches were stored before.

use prost::Message;
use proto::logger::Line;
use sha2::{Digest, Sha256};

/// Lines that arrived together.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// Counts the app's lines from 0 on; a reader that finds a jump has missed lines.
    #[prost(uint64, tag = "1")]
    pub first_line: u64,
    /// When they arrived, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub received_ms: u64,
    /// Who sent them; empty if repeats are not told apart.
    #[prost(string, tag = "3")]
    pub source: String,
    /// The sender's own count.
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
    /// The lines, in their order.
    #[prost(message, repeated, tag = "5")]
    pub lines: Vec<StoredLine>,
    /// In the first record of a segment: the batches that the segments before hold.
    #[prost(message, repeated, tag = "6")]
    pub recent: Vec<RecentSource>,
}

/// A line without its app, which the folder tells.
#[derive(Clone, PartialEq, Message)]
pub struct StoredLine {
    /// `web.2`.
    #[prost(string, tag = "1")]
    pub process: String,
    /// When it was written.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// stdout, stderr or empty.
    #[prost(string, tag = "3")]
    pub stream: String,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub text: Vec<u8>,
}

/// The last batches of one sender.
#[derive(Clone, PartialEq, Message)]
pub struct RecentSource {
    /// The sender.
    #[prost(string, tag = "1")]
    pub source: String,
    /// Its counts, oldest first.
    #[prost(uint64, repeated, tag = "2")]
    pub sequences: Vec<u64>,
}

impl Record {
    /// The name of one of its lines, the same wherever the batch is kept; 0 where repeats are not told apart.
    pub fn line_id(&self, index: usize) -> u64 {
        if self.source.is_empty() {
            return 0;
        }
        let mut hash = Sha256::new();
        hash.update(self.source.as_bytes());
        hash.update(self.sequence.to_be_bytes());
        hash.update((index as u64).to_be_bytes());
        let [first, ..] = *hash.finalize().as_chunks::<8>().0 else { return 0 };
        u64::from_be_bytes(first).max(1)
    }

    /// The count of the line that follows.
    pub fn next_line(&self) -> u64 {
        self.first_line + self.lines.len() as u64
    }
}

impl StoredLine {
    /// As readers get it.
    pub fn into_line(self, app: &str, id: u64) -> Line {
        let StoredLine { process, at_ms, stream, text } = self;
        Line { app: app.to_owned(), process, at_ms, stream, text, id }
    }
}
