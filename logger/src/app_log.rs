//! One app's log, on the side of its only writer: appends records, starts segments, drops the oldest, knows repeats.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use prost::Message;
use tokio::sync::watch;

use crate::{
    frame,
    recent::Recent,
    record::{Record, StoredLine},
    segments::{self, End, HEADER, START},
};

/// A log has about this many segments; dropping the oldest drops this part of it.
const SEGMENTS: u64 = 8;
/// A segment is at least this large.
const MIN_SEGMENT: u64 = 64 << 10;

/// What makes one batch different from another.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Who sent it; empty if repeats are not told apart.
    pub source: &'a str,
    /// The sender's own count.
    pub sequence: u64,
    /// When it arrived, in milliseconds since 1970.
    pub received_ms: u64,
}

/// An app's log, open for appending.
pub struct AppLog {
    folder: PathBuf,
    max_bytes: u64,
    /// The newest segment's file; none before the first line.
    file: Option<File>,
    segment: u64,
    length: u64,
    next_line: u64,
    recent: Recent,
    is_dirty: bool,
    end: watch::Sender<End>,
}

impl AppLog {
    /// Opens the log in `folder`, which need not exist; a torn record at its end is cut off.
    pub fn open(folder: PathBuf, max_bytes: u64) -> io::Result<AppLog> {
        let mut log = AppLog {
            folder,
            max_bytes,
            file: None,
            segment: 0,
            length: 0,
            next_line: 0,
            recent: Recent::default(),
            is_dirty: false,
            end: watch::Sender::new(End::default()),
        };
        log.reopen()?;
        Ok(log)
    }

    /// Learns from the disk where the log ends. After a failed write nothing else can be trusted.
    pub fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.segment, self.length) = (None, 0, 0);
        (self.next_line, self.recent, self.is_dirty) = (0, Recent::default(), false);
        // A kill while a segment was begun leaves it without records; then the one before tells the state.
        for number in segments::list(&self.folder)?.into_iter().rev().take(2) {
            let path = segments::path(&self.folder, number);
            let file = OpenOptions::new().read(true).append(true).open(&path)?;
            let mut is_empty = true;
            let length = segments::scan(&file, |record| {
                learn(&mut self.recent, &mut self.next_line, record);
                is_empty = false;
            })?;
            if self.file.is_none() {
                (self.segment, self.length, self.file) = (number, length, Some(file));
            }
            if !is_empty {
                break;
            }
        }
        if let Some(mut file) = self.file.take() {
            let torn = file.metadata()?.len().saturating_sub(self.length);
            if torn > 0 {
                tracing::warn!(folder = %self.folder.display(), torn, "a torn record is cut off");
            }
            file.set_len(self.length)?;
            if self.length == 0 {
                file.write_all(HEADER)?;
                self.length = START;
            }
            file.sync_all()?;
            self.file = Some(file);
        }
        self.publish();
        Ok(())
    }

    /// Where readers find the log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells readers how far they may read.
    pub fn subscribe(&self) -> watch::Receiver<End> {
        self.end.subscribe()
    }

    /// Whether somebody follows it.
    pub fn is_followed(&self) -> bool {
        self.end.receiver_count() > 0
    }

    /// Whether there is something to sync.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Writes lines, which are durable after the next [`AppLog::sync`]; false if the log has this batch already.
    pub fn append(&mut self, origin: Origin<'_>, lines: Vec<StoredLine>) -> io::Result<bool> {
        if self.recent.contains(origin.source, origin.sequence) {
            return Ok(false);
        }
        let record = Record {
            first_line: self.next_line,
            received_ms: origin.received_ms,
            source: origin.source.to_owned(),
            sequence: origin.sequence,
            lines,
            recent: Vec::new(),
        };
        let frame = frame::encode(&record.encode_to_vec());
        let is_full = self.length + frame.len() as u64 > self.segment_bytes();
        if self.file.is_none() || (is_full && self.length > START) {
            self.start_segment(origin.received_ms)?;
        }
        self.write(&frame)?;
        self.next_line = record.next_line();
        self.recent.note(origin.source, origin.sequence);
        Ok(true)
    }

    /// Makes everything written durable and shows it to readers.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        self.is_dirty = false;
        self.publish();
        Ok(())
    }

    /// Deletes the log; those who follow it see its end.
    pub fn delete(self) -> io::Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
            sync_parent(&self.folder)?;
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / SEGMENTS).max(MIN_SEGMENT)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_mut().expect("a segment was started");
        self.is_dirty = true;
        if let Err(error) = file.write_all(bytes) {
            // Half a record must not stay before the next one.
            file.set_len(self.length)?;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The first record of a segment carries what the segments before would tell, so that they can be dropped.
    fn start_segment(&mut self, received_ms: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_data()?;
        } else {
            fs::create_dir_all(&self.folder)?;
            sync_parent(&self.folder)?;
        }
        self.drop_oldest()?;
        let number = self.segment + 1;
        let path = segments::path(&self.folder, number);
        let carry = Record {
            first_line: self.next_line,
            received_ms,
            recent: self.recent.save(),
            ..Record::default()
        };
        let start = [HEADER.as_slice(), &frame::encode(&carry.encode_to_vec())].concat();
        let mut file = OpenOptions::new().read(true).append(true).create_new(true).open(&path)?;
        if let Err(error) = file.write_all(&start) {
            fs::remove_file(&path)?;
            return Err(error);
        }
        File::open(&self.folder)?.sync_all()?;
        (self.file, self.segment, self.length) = (Some(file), number, start.len() as u64);
        self.is_dirty = true;
        Ok(())
    }

    /// Removes the oldest segments until another one fits.
    fn drop_oldest(&self) -> io::Result<()> {
        let numbers = segments::list(&self.folder)?;
        let sizes = numbers.iter().map(|number| {
            fs::metadata(segments::path(&self.folder, *number)).map(|metadata| metadata.len())
        });
        let sizes: Vec<u64> = sizes.collect::<io::Result<_>>()?;
        let mut total: u64 = sizes.iter().sum();
        for (number, size) in numbers.iter().zip(&sizes) {
            if total + self.segment_bytes() <= self.max_bytes {
                break;
            }
            fs::remove_file(segments::path(&self.folder, *number))?;
            total -= size;
        }
        Ok(())
    }

    fn publish(&self) {
        let end = End { segment: self.segment, offset: self.length, next_line: self.next_line };
        self.end.send_replace(end);
    }
}

fn learn(recent: &mut Recent, next_line: &mut u64, record: Record) {
    *next_line = record.next_line();
    if !record.recent.is_empty() {
        *recent = Recent::restore(record.recent);
        return;
    }
    recent.note(&record.source, record.sequence);
}

/// Makes a folder's own name durable, and its parent's.
fn sync_parent(folder: &Path) -> io::Result<()> {
    folder.ancestors().skip(1).take(2).try_for_each(|parent| File::open(parent)?.sync_all())
}
