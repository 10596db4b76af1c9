//! Reads an app's lines for one reader: history from the end of the log, then what is added, by the same cursor.
//!
//! A reader has no queue in the writer: it reads the segments at its own pace, so a slow one delays nobody. One that is
//! so slow that its segment is dropped is told how many lines it lost.

use std::{io, path::PathBuf};

use proto::logger::{Line, LineBatch};

use crate::{
    filter::Filter,
    record::{Record, StoredLine},
    segments::{self, Chunk, Cursor, End},
};

/// A message to a reader has at most so many bytes of text, and so many lines.
const MESSAGE_BYTES: usize = 512 << 10;
const MESSAGE_LINES: usize = 1_000;

/// One reader's place in one app's log. All calls block.
#[derive(Debug)]
pub struct Reader {
    app: String,
    filter: Filter,
    cursor: Cursor,
    skip: u64,
}

impl Reader {
    /// Before the newest `count` lines that match; before all that match where `count` is 0.
    pub fn open(
        app: String,
        folder: PathBuf,
        filter: Filter,
        count: u32,
        end: End,
    ) -> io::Result<Reader> {
        if count == 0 && filter.since_ms == 0 {
            return Ok(Reader { app, filter, cursor: Cursor::oldest(&folder), skip: 0 });
        }
        let count = if count == 0 { u64::MAX } else { u64::from(count) };
        let newest = segments::newest(&folder, end, &filter, count)?;
        Ok(Reader { app, filter, cursor: newest.cursor, skip: newest.skip })
    }

    /// The next messages up to `end`; none when there is nothing more.
    pub fn next(&mut self, end: End) -> io::Result<Vec<LineBatch>> {
        while let Some(chunk) = self.cursor.next(end)? {
            let messages = self.messages(chunk);
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
        Ok(Vec::new())
    }

    fn messages(&mut self, Chunk { records, lost }: Chunk) -> Vec<LineBatch> {
        let mut messages = Vec::new();
        let (mut message, mut bytes) = (LineBatch { dropped: lost, ..LineBatch::default() }, 0);
        for (id, line) in records.into_iter().flat_map(named) {
            if !self.filter.matches(&line) || self.is_skipped() {
                continue;
            }
            let line: Line = line.into_line(&self.app, id);
            if bytes + line.text.len() > MESSAGE_BYTES || message.lines.len() == MESSAGE_LINES {
                messages.push(std::mem::take(&mut message));
                bytes = 0;
            }
            bytes += line.text.len();
            message.lines.push(line);
        }
        if message != LineBatch::default() {
            messages.push(message);
        }
        messages
    }

    fn is_skipped(&mut self) -> bool {
        let is_skipped = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        is_skipped
    }
}

/// The lines of a record with their ids.
fn named(mut record: Record) -> Vec<(u64, StoredLine)> {
    let lines = std::mem::take(&mut record.lines);
    lines.into_iter().enumerate().map(|(index, line)| (record.line_id(index), line)).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        app_log::{AppLog, Origin},
        record::StoredLine,
    };

    fn lines(texts: impl IntoIterator<Item = (&'static str, String)>) -> Vec<StoredLine> {
        let line = |(process, text): (&str, String)| StoredLine {
            process: process.to_owned(),
            at_ms: text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0),
            text: text.into_bytes(),
            ..StoredLine::default()
        };
        texts.into_iter().map(line).collect()
    }

    fn append(log: &mut AppLog, sequence: u64, texts: &[(&'static str, String)]) {
        let received_ms = 1_000_000 + sequence;
        let origin = Origin { source: "test", sequence, received_ms };
        log.append(origin, lines(texts.iter().cloned())).unwrap();
    }

    /// Everything a reader gets, and how many lines it lost.
    fn read(
        folder: &Path,
        process: &str,
        since_ms: u64,
        count: u32,
        end: End,
    ) -> (Vec<String>, u64) {
        let filter = Filter { process: process.to_owned(), since_ms };
        let mut reader =
            Reader::open("shop".to_owned(), folder.to_owned(), filter, count, end).unwrap();
        drain(&mut reader, end)
    }

    fn drain(reader: &mut Reader, end: End) -> (Vec<String>, u64) {
        let (mut texts, mut lost) = (Vec::new(), 0);
        loop {
            let messages = reader.next(end).unwrap();
            if messages.is_empty() {
                return (texts, lost);
            }
            for message in messages {
                lost += message.dropped;
                let text = |line: Line| String::from_utf8(line.text).unwrap();
                texts.extend(message.lines.into_iter().map(text));
            }
        }
    }

    #[test]
    fn the_newest_lines_that_match_are_read_whatever_lies_between() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("shop");
        let mut log = AppLog::open(folder.clone(), 1 << 20).unwrap();
        let end = log.subscribe();
        assert_eq!(read(&folder, "", 0, 10, *end.borrow()).0, Vec::<String>::new());
        for n in 0..5000_u64 {
            let process = if n % 100 == 0 { "worker.1" } else { "web.1" };
            let filler = if n % 2 == 0 { "x".repeat(120) } else { String::new() };
            append(&mut log, n, &[(process, format!("{filler}{n}"))]);
        }
        log.sync().unwrap();
        let end = *end.borrow();
        assert!(end.segment > 3, "{end:?}");
        let (newest, lost) = read(&folder, "", 0, 3, end);
        let newest: Vec<_> = newest.iter().map(|text| text.trim_start_matches('x')).collect();
        assert_eq!((newest, lost), (vec!["4997", "4998", "4999"], 0));
        let workers = read(&folder, "worker", 0, 3, end).0;
        let workers: Vec<_> = workers.iter().map(|text| text.trim_start_matches('x')).collect();
        assert_eq!(workers, ["4700", "4800", "4900"]);
        assert_eq!(read(&folder, "clock", 0, 3, end).0, Vec::<String>::new());
        assert_eq!(read(&folder, "", 0, 0, end).0.len(), 5000);
        assert_eq!(read(&folder, "", 4990, 0, end).0.len(), 10);
        assert_eq!(read(&folder, "web.1", 4990, 5, end).0.len(), 5);
    }

    #[test]
    fn a_reader_overtaken_by_rotation_learns_exactly_what_it_lost() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("shop");
        let mut log = AppLog::open(folder.clone(), 512 << 10).unwrap();
        let end = log.subscribe();
        let filter = Filter::default();
        let mut reader =
            Reader::open("shop".to_owned(), folder.clone(), filter, 10, *end.borrow()).unwrap();
        let mut seen = 0;
        let total = 3000;
        for n in 0..total {
            append(&mut log, n, &[("web.1", "x".repeat(1000))]);
            if n == 20 {
                log.sync().unwrap();
                seen += drain(&mut reader, *end.borrow()).0.len() as u64;
            }
        }
        log.sync().unwrap();
        let (texts, lost) = drain(&mut reader, *end.borrow());
        assert!(lost > 1000, "{lost}");
        assert_eq!(seen + texts.len() as u64 + lost, total);
        let size: u64 = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= 512 << 10, "{size}");
    }

    #[test]
    fn a_torn_end_is_cut_and_repeats_are_known_after_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("shop");
        let mut log = AppLog::open(folder.clone(), 512 << 10).unwrap();
        for n in 0..200 {
            append(&mut log, n, &[("web.1", "x".repeat(1000))]);
        }
        drop(log);
        let newest = segments::list(&folder).unwrap().pop().unwrap();
        let path = segments::path(&folder, newest);
        let mut bytes = fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.extend_from_slice(&[1, 0, 0, 0, 9, 9, 9, 9, 1]);
        fs::write(&path, &bytes).unwrap();
        // A segment that was only begun when the program was killed.
        fs::write(segments::path(&folder, newest + 1), b"tri").unwrap();

        let mut log = AppLog::open(folder.clone(), 512 << 10).unwrap();
        let origin = |sequence| Origin { source: "test", sequence, received_ms: 0 };
        // The second one stands in a segment before.
        for repeat in [199, 140] {
            assert!(!log.append(origin(repeat), lines([("web.1", "again".to_owned())])).unwrap());
        }
        assert!(log.append(origin(200), lines([("web.1", "new".to_owned())])).unwrap());
        log.sync().unwrap();
        let end = *log.subscribe().borrow();
        assert_eq!(end.next_line, 201);
        let (texts, lost) = read(&folder, "", 0, 2, end);
        let lengths: Vec<usize> = texts.iter().map(String::len).collect();
        assert_eq!((lengths, lost), (vec![1000, 3], 0));
        assert_eq!(read(&folder, "", 0, 0, end).0.len(), 201);

        // The same where the newest segment itself is torn.
        fs::remove_file(segments::path(&folder, newest + 1)).unwrap();
        let log = AppLog::open(folder.clone(), 512 << 10).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), whole as u64);
        assert_eq!(log.subscribe().borrow().next_line, 200);
    }
}
