//! Finds the newest lines without reading the others: from the end of the log towards its start.

use std::{fs::File, io, path::Path};

use prost::Message;

use super::{CHUNK, Cursor, End, START, list, path, read_at, scan};
use crate::{
    filter::Filter,
    frame::{self, Parsed},
    record::Record,
};

/// Where the newest lines that match begin.
#[derive(Debug)]
pub struct Newest {
    /// From here on.
    pub cursor: Cursor,
    /// So many matching lines are passed over first.
    pub skip: u64,
}

/// Finds the place before the newest `count` lines that match, reading from the end.
pub fn newest(folder: &Path, end: End, filter: &Filter, count: u64) -> io::Result<Newest> {
    let mut found = 0;
    for segment in list(folder)?.into_iter().rev().filter(|segment| *segment <= end.segment) {
        let file = match File::open(path(folder, segment)) {
            Ok(file) => file,
            // Dropped meanwhile, and so were those before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let limit = if segment == end.segment { end.offset } else { file.metadata()?.len() };
        let mut back = Backward { file: &file, start: limit, bytes: Vec::new() };
        loop {
            let after = back.position();
            let Some(record) = back.next()? else {
                if back.skip_damage()? {
                    continue;
                }
                break;
            };
            if filter.is_after(&record) {
                let cursor = Cursor::at(folder, segment, after, Some(record.next_line()));
                return Ok(Newest { cursor, skip: 0 });
            }
            found += record.lines.iter().filter(|line| filter.matches(line)).count() as u64;
            if found >= count {
                let place = back.position();
                let cursor = Cursor::at(folder, segment, place, Some(record.first_line));
                return Ok(Newest { cursor, skip: found - count });
            }
        }
    }
    let cursor = if found == 0 { Cursor::newest(folder, end) } else { Cursor::oldest(folder) };
    Ok(Newest { cursor, skip: 0 })
}

/// Reads a segment's records from a place towards its start.
struct Backward<'a> {
    file: &'a File,
    /// The offset of `bytes` in the file.
    start: u64,
    bytes: Vec<u8>,
}

impl Backward<'_> {
    /// The end of the record that comes next.
    fn position(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The record before; none at the start and where the file is damaged.
    fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let (record, length) = match frame::last(&self.bytes) {
                Parsed::Whole { payload, length } => (Record::decode(payload).ok(), length),
                Parsed::Broken => return Ok(None),
                Parsed::Short { needed } => {
                    if !self.load(needed as u64)? {
                        return Ok(None);
                    }
                    continue;
                }
            };
            self.bytes.truncate(self.bytes.len() - length);
            return Ok(record);
        }
    }

    /// Where the end of the file is damaged, goes on from the end of what is whole; false if that was read already.
    fn skip_damage(&mut self) -> io::Result<bool> {
        let position = self.position();
        if position <= START {
            return Ok(false);
        }
        let whole = scan(self.file, drop)?;
        if whole >= position {
            return Ok(false);
        }
        (self.start, self.bytes) = (whole, Vec::new());
        Ok(true)
    }

    /// Loads the bytes before the position, at least so many; false if there are not so many.
    fn load(&mut self, needed: u64) -> io::Result<bool> {
        let end = self.position();
        if end < START + needed {
            return Ok(false);
        }
        let start = end.saturating_sub(needed.max(CHUNK)).max(START);
        self.bytes = read_at(self.file, start, end - start)?;
        self.start = start;
        Ok(self.bytes.len() as u64 == end - start)
    }
}
