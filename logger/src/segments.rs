//! An app's folder of segments: `00000001.log`, `00000002.log` and so on, each a header and frames. Read from both ends.

mod newest;

pub use newest::newest;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use prost::Message;

use crate::{
    frame::{self, Parsed},
    record::Record,
};

/// The first bytes of each segment; the digit is the format's version.
pub const HEADER: &[u8; 8] = b"trilog1\n";
/// The offset of a segment's first frame.
pub const START: u64 = HEADER.len() as u64;
/// How much is read at once.
const CHUNK: u64 = 256 << 10;

/// Up to where an app's log is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// The newest segment; 0 where there is none.
    pub segment: u64,
    /// The bytes of it that may be read.
    pub offset: u64,
    /// The count of the line that comes next.
    pub next_line: u64,
}

/// The numbers of the segments in a folder, oldest first; none if there is no folder.
pub fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()).filter(|number| *number > 0));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A segment's file.
pub fn path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:08}.log"))
}

/// A place in a log, from which it can be read on.
#[derive(Debug)]
pub struct Cursor {
    folder: PathBuf,
    segment: u64,
    offset: u64,
    file: Option<File>,
    /// The count of the line that comes next, where it is known.
    expected: Option<u64>,
}

/// Records in their order.
#[derive(Debug, Default, PartialEq)]
pub struct Chunk {
    /// The records.
    pub records: Vec<Record>,
    /// Lines that were dropped before they could be read.
    pub lost: u64,
}

impl Cursor {
    /// Before the oldest line.
    pub fn oldest(folder: &Path) -> Cursor {
        Cursor::at(folder, 0, START, None)
    }

    fn at(folder: &Path, segment: u64, offset: u64, expected: Option<u64>) -> Cursor {
        Cursor { folder: folder.to_owned(), segment, offset, file: None, expected }
    }

    /// After the newest line.
    pub fn newest(folder: &Path, end: End) -> Cursor {
        Cursor::at(folder, end.segment, end.offset.max(START), Some(end.next_line))
    }

    /// The next records before `end`, at least one; none when there are no more. Segments that were dropped meanwhile
    /// are passed over, and their lines counted as lost.
    pub fn next(&mut self, end: End) -> io::Result<Option<Chunk>> {
        let Some(records) = self.next_records(end)? else { return Ok(None) };
        let mut lost = 0;
        for record in &records {
            let expected = self.expected.unwrap_or(record.first_line);
            lost += record.first_line.saturating_sub(expected);
            self.expected = Some(record.next_line());
        }
        Ok(Some(Chunk { records, lost }))
    }

    fn next_records(&mut self, end: End) -> io::Result<Option<Vec<Record>>> {
        loop {
            if self.segment >= end.segment && self.offset >= end.offset.max(START) {
                return Ok(None);
            }
            if self.segment == 0 || !self.open()? {
                if !self.advance(end)? {
                    return Ok(None);
                }
                continue;
            }
            let records = self.read(end)?;
            if !records.is_empty() {
                return Ok(Some(records));
            }
            if self.segment == end.segment {
                tracing::error!(segment = self.segment, folder = %self.folder.display(), "damaged");
                self.offset = end.offset;
                return Ok(None);
            }
            if !self.advance(end)? {
                return Ok(None);
            }
        }
    }

    /// Opens the segment's file; false if it is gone.
    fn open(&mut self) -> io::Result<bool> {
        if self.file.is_some() {
            return Ok(true);
        }
        match File::open(path(&self.folder, self.segment)) {
            Ok(file) => self.file = Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Goes to the next segment that is there; false if there is none.
    fn advance(&mut self, end: End) -> io::Result<bool> {
        let next = list(&self.folder)?.into_iter().find(|number| *number > self.segment);
        self.file = None;
        match next.filter(|next| *next <= end.segment) {
            Some(next) => {
                (self.segment, self.offset) = (next, START);
                Ok(true)
            }
            None => {
                (self.segment, self.offset) = (end.segment, end.offset);
                Ok(false)
            }
        }
    }

    /// The whole records of the next chunk; none at the segment's end and where it is damaged.
    fn read(&mut self, end: End) -> io::Result<Vec<Record>> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let limit = if self.segment == end.segment { end.offset } else { file.metadata()?.len() };
        let left = limit.saturating_sub(self.offset);
        let mut wanted = left.min(CHUNK);
        loop {
            let bytes = read_at(file, self.offset, wanted)?;
            let (records, taken, needed) = parse(&bytes);
            self.offset += taken;
            match needed {
                Some(needed) if records.is_empty() && needed > wanted && needed <= left => {
                    wanted = needed;
                }
                Some(_) | None => return Ok(records),
            }
        }
    }
}

/// The whole records at the start of these bytes, the bytes they take, and what the next frame would need.
fn parse(mut bytes: &[u8]) -> (Vec<Record>, u64, Option<u64>) {
    let (mut records, mut taken) = (Vec::new(), 0);
    loop {
        match frame::first(bytes) {
            Parsed::Whole { payload, length } => {
                let Ok(record) = Record::decode(payload) else { return (records, taken, None) };
                records.push(record);
                bytes = &bytes[length..];
                taken += length as u64;
            }
            Parsed::Short { needed } => return (records, taken, Some(needed as u64)),
            Parsed::Broken => return (records, taken, None),
        }
    }
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Walks a segment from the front and hands over each whole record; gives the offset after the last one.
pub fn scan(file: &File, mut visit: impl FnMut(Record)) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if read_at(file, 0, START.min(length))? != HEADER {
        return Ok(0);
    }
    let mut cursor = Cursor::at(Path::new(""), 1, START, None);
    cursor.file = Some(file.try_clone()?);
    loop {
        let records = cursor.read(End { segment: 1, offset: length, next_line: 0 })?;
        if records.is_empty() {
            return Ok(cursor.offset);
        }
        records.into_iter().for_each(&mut visit);
    }
}
