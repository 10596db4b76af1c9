//! The tar of a build: same commit and plan, same bytes.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::Stream;
use git2::Repository;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Entry, Kind, Source};
use crate::recipe::{Layout, Plan};

/// Bytes per chunk on their way to the engine.
const CHUNK: usize = 128 << 10;
/// Chunks that may wait.
const WAITING: usize = 8;
/// A commit's files together, unpacked.
const MAX_BYTES: u64 = 2 << 30;
/// Where the app's files lie when the instructions are ours.
const APP_FOLDER: &str = "app/";

/// The build's files as a tar stream, read from the repository as it is consumed. An error ends the stream with it.
pub fn stream(
    source: &Source,
    plan: &Plan,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(WAITING);
    let (source, plan) = (source.clone(), plan.clone());
    tokio::task::spawn_blocking(move || {
        let chunks = Chunks { sender: sender.clone(), buffer: Vec::with_capacity(CHUNK) };
        if let Err(error) = write(&source, &plan, chunks) {
            // With the reader gone nobody needs the error.
            let _ = sender.blocking_send(Err(error));
        }
    });
    ReceiverStream::new(receiver)
}

/// Writes the whole tar.
pub(super) fn write(source: &Source, plan: &Plan, out: impl Write) -> io::Result<()> {
    let repository = super::open(&source.place).map_err(io::Error::other)?;
    let mut tar = Builder::new(out);
    let prefix = match &plan.layout {
        Layout::Own => "",
        Layout::Made(instructions) => {
            let mut header = header(Kind::File, source.time, instructions.len() as u64);
            tar.append_data(&mut header, "Dockerfile", instructions.as_bytes())?;
            // The copy of the folder must find one even where every file is left out.
            let mut header = folder_header(source.time);
            tar.append_data(&mut header, APP_FOLDER, io::empty())?;
            APP_FOLDER
        }
    };
    let mut written = 0;
    for entry in source.entries.iter().filter(|entry| !plan.ignore.leaves_out(&entry.path)) {
        written +=
            append(&mut tar, &repository, entry, &format!("{prefix}{}", entry.path), source.time)?;
        if written > MAX_BYTES {
            return Err(io::Error::other("the files of the commit are larger than 2 GiB"));
        }
    }
    tar.into_inner()?.flush()
}

fn append<W: Write>(
    tar: &mut Builder<W>,
    repository: &Repository,
    entry: &Entry,
    path: &str,
    time: u64,
) -> io::Result<u64> {
    let blob = repository.find_blob(entry.id).map_err(io::Error::other)?;
    let content = blob.content();
    match entry.kind {
        Kind::File | Kind::Program => {
            let mut header = header(entry.kind, time, content.len() as u64);
            tar.append_data(&mut header, path, content)?;
        }
        Kind::Link => {
            let target = std::str::from_utf8(content).map_err(io::Error::other)?;
            let mut header = header(Kind::Link, time, 0);
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, path, target)?;
        }
    }
    Ok(content.len() as u64)
}

fn header(kind: Kind, time: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mtime(time);
    header.set_mode(match kind {
        Kind::File => 0o644,
        Kind::Program => 0o755,
        Kind::Link => 0o777,
    });
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn folder_header(time: u64) -> Header {
    let mut header = header(Kind::Program, time, 0);
    header.set_entry_type(EntryType::Directory);
    header
}

struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        if full.is_empty() {
            return Ok(());
        }
        self.sender
            .blocking_send(Ok(Bytes::from(full)))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the build is over"))
    }
}
