//! Lines that travel together, and how the engine marks them.

use proto::logger::Line;

use super::Origin;

/// The logger takes no more lines at once.
const MAX_LINES: usize = 1_000;
/// Nor more bytes; the last line may still go over this, which leaves room up to the logger's 1 MiB.
const MAX_BYTES: usize = 960 * 1024;
/// Longer lines are cut. The engine itself cuts at this length.
const MAX_LINE: usize = 16 * 1024;
/// What a line weighs besides its text.
const OVERHEAD: usize = 64;

/// Lines on their way.
#[derive(Debug)]
pub struct Batch {
    lines: Vec<Line>,
    stamps: Vec<i64>,
    bytes: usize,
    /// The first batch may have to be as large as one that was sent before.
    limit: usize,
}

impl Batch {
    /// Without lines. `repeated`: how many lines the first batch holds.
    pub fn new(repeated: Option<usize>) -> Batch {
        let limit = repeated.unwrap_or(MAX_LINES).clamp(1, MAX_LINES);
        Batch { lines: Vec::new(), stamps: Vec::new(), bytes: 0, limit }
    }

    /// Adds a piece of output; one stamp per piece, however many lines it makes.
    pub fn push(&mut self, origin: &Origin, stream: &str, at_ns: i64, text: &[u8]) {
        let text = &text[..text.len().min(MAX_LINE)];
        self.bytes += text.len() + origin.app.len() + origin.process.len() + OVERHEAD;
        self.stamps.push(at_ns);
        self.lines.push(Line {
            app: origin.app.clone(),
            process: origin.process.clone(),
            at_ms: u64::try_from(at_ns / 1_000_000).unwrap_or_default(),
            stream: stream.to_owned(),
            text: text.to_vec(),
            id: 0,
        });
    }

    /// Whether it must go out before more is added.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= self.limit || self.bytes >= MAX_BYTES
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes what is in it, and the lines' times.
    pub fn take(&mut self) -> (Vec<Line>, Vec<i64>) {
        (self.bytes, self.limit) = (0, MAX_LINES);
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.stamps))
    }
}

/// Splits `2026-01-02T03:04:05.678901234Z text\n`. Without a time it has that of the line before.
pub fn stamped(piece: &[u8], before_ns: i64) -> (i64, &[u8]) {
    let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
    let blank = piece.iter().position(|byte| *byte == b' ').unwrap_or(piece.len());
    let (stamp, rest) = piece.split_at(blank);
    let parsed = std::str::from_utf8(stamp).ok().and_then(|text| text.parse().ok());
    match parsed.and_then(|time: jiff::Timestamp| i64::try_from(time.as_nanosecond()).ok()) {
        Some(at_ns) => {
            let text = rest.strip_prefix(b" ").unwrap_or(rest);
            (at_ns, text.strip_suffix(b"\r").unwrap_or(text))
        }
        None => (before_ns, piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parted_from_its_time() {
        let (at, text) = stamped(b"1970-01-01T00:00:01.000000002Z hello there\n", 7);
        assert_eq!((at, text), (1_000_000_002, b"hello there".as_slice()));
        assert_eq!(stamped(b"1970-01-01T00:00:01Z \n", 7), (1_000_000_000, b"".as_slice()));
        assert_eq!(stamped(b"\xff\xfe no time\n", 7), (7, b"\xff\xfe no time".as_slice()));
    }

    #[test]
    fn a_batch_is_full_by_lines_or_by_bytes() {
        let origin = Origin {
            container: String::new(),
            app: "shop".to_owned(),
            process: "web.1".to_owned(),
        };
        let mut batch = Batch::new(None);
        for _ in 0..MAX_LINES {
            assert!(!batch.is_full());
            batch.push(&origin, "stdout", 0, b"x");
        }
        assert!(batch.is_full());
        assert_eq!(batch.take().0.len(), MAX_LINES);
        while !batch.is_full() {
            batch.push(&origin, "stdout", 0, &[b'x'; MAX_LINE]);
        }
        let (lines, _) = batch.take();
        let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= 1024 * 1024, "{bytes}");
    }

    #[test]
    fn a_repeated_batch_is_as_large_as_it_was() {
        let origin =
            Origin { container: String::new(), app: String::new(), process: String::new() };
        let mut batch = Batch::new(Some(2));
        batch.push(&origin, "stdout", 0, b"a");
        assert!(!batch.is_full());
        batch.push(&origin, "stdout", 0, b"b");
        assert!(batch.is_full());
        batch.take();
        batch.push(&origin, "stdout", 0, b"c");
        batch.push(&origin, "stdout", 0, b"d");
        assert!(!batch.is_full());
    }
}
