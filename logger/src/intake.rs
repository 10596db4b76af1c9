//! What senders may send: a batch is checked whole and sorted by app before anything is stored. Pure.

use std::collections::BTreeMap;

use model::name::{AppName, NodeName};
use proto::logger::{AppendRequest, Line, ShipRequest};

use crate::record::StoredLine;

/// More lines in one batch are refused.
pub const MAX_LINES: usize = 1_000;
/// Longer lines are cut in pieces of this size.
pub const MAX_TEXT: usize = 16 << 10;
/// As many, each cut in pieces.
const MAX_SHIPPED_LINES: usize = 2 * MAX_LINES;
/// Longer names of processes, streams and sources are refused.
const MAX_NAME: usize = 200;

/// A batch that may be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The node whose logger took it, if it is not this one.
    pub origin: Option<NodeName>,
    /// Who sent it: unique for one run of one program; empty if repeats are not told apart.
    pub source: String,
    /// The sender's own count.
    pub sequence: u64,
    /// The lines of each app, in their order.
    pub apps: BTreeMap<AppName, Vec<StoredLine>>,
    /// How many bytes they are.
    pub bytes: usize,
}

/// Why a batch is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Too many lines.
    #[error("take {0} lines at once: at most {MAX_LINES} are allowed")]
    TooMany(usize),
    /// A line's app is no app.
    #[error("take lines of `{app}`: {rule}")]
    App {
        /// What was sent.
        app: String,
        /// What a name looks like.
        rule: &'static str,
    },
    /// A name is too long or has characters that would spoil a listing.
    #[error("take lines: {0} must be at most {MAX_NAME} printable characters")]
    Name(&'static str),
}

/// Checks a batch from `sender` (its role and node), whose name makes the source its own.
pub fn check(sender: &str, request: AppendRequest) -> Result<Batch, IntakeError> {
    let AppendRequest { lines, source, sequence } = request;
    if lines.len() > MAX_LINES {
        return Err(IntakeError::TooMany(lines.len()));
    }
    check_name("the source", &source)?;
    let source = if source.is_empty() { source } else { format!("{sender}/{source}") };
    sorted(lines, source, sequence)
}

/// Checks a batch that another node's logger has taken: its source is as that one knows it.
pub fn check_shipped(origin: NodeName, request: ShipRequest) -> Result<Batch, IntakeError> {
    let ShipRequest { lines, source, sequence } = request;
    if lines.len() > MAX_SHIPPED_LINES {
        return Err(IntakeError::TooMany(lines.len()));
    }
    check_name("the source", &source)?;
    Ok(Batch { origin: Some(origin), ..sorted(lines, source, sequence)? })
}

fn sorted(lines: Vec<Line>, source: String, sequence: u64) -> Result<Batch, IntakeError> {
    let mut batch = Batch { origin: None, source, sequence, apps: BTreeMap::new(), bytes: 0 };
    for line in lines {
        let Line { app, process, at_ms, stream, text, id: _ } = line;
        check_name("a process", &process)?;
        check_name("a stream", &stream)?;
        let app: AppName = app.parse().map_err(|error: model::name::NameError| {
            IntakeError::App { app, rule: error.rule() }
        })?;
        batch.bytes += text.len() + process.len();
        let stored = batch.apps.entry(app).or_default();
        for piece in pieces(text) {
            let (process, stream) = (process.clone(), stream.clone());
            stored.push(StoredLine { process, at_ms, stream, text: piece });
        }
    }
    Ok(batch)
}

impl Batch {
    /// To be sent on to another node.
    pub fn into_ship(self) -> ShipRequest {
        let Batch { source, sequence, apps, .. } = self;
        let lines = apps.into_iter().flat_map(|(app, lines)| {
            let app = app.to_string();
            lines.into_iter().map(move |line| line.into_line(&app, 0))
        });
        ShipRequest { lines: lines.collect(), source, sequence }
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), IntakeError> {
    let is_printable = name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    if is_printable { Ok(()) } else { Err(IntakeError::Name(what)) }
}

fn pieces(text: Vec<u8>) -> Vec<Vec<u8>> {
    if text.len() <= MAX_TEXT {
        return vec![text];
    }
    text.chunks(MAX_TEXT).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(app: &str, process: &str, text: &[u8]) -> Line {
        Line {
            app: app.to_owned(),
            process: process.to_owned(),
            text: text.to_vec(),
            ..Line::default()
        }
    }

    fn request(lines: Vec<Line>) -> AppendRequest {
        AppendRequest { lines, source: "run1".to_owned(), sequence: 7 }
    }

    #[test]
    fn lines_are_sorted_by_app_and_keep_their_order() {
        let lines = vec![
            line("shop", "web.1", b"one"),
            line("blog", "web.1", b"two"),
            line("shop", "web.2", b"three"),
        ];
        let batch = check("agent on n1", request(lines)).unwrap();
        assert_eq!((batch.source.as_str(), batch.sequence), ("agent on n1/run1", 7));
        let shop = &batch.apps[&"shop".parse().unwrap()];
        let texts: Vec<_> = shop.iter().map(|line| line.text.as_slice()).collect();
        assert_eq!(texts, [b"one".as_slice(), b"three"]);

        // Sent on to another node it stays the same batch.
        let shipped = check_shipped("n1".parse().unwrap(), batch.clone().into_ship()).unwrap();
        assert_eq!(shipped, Batch { origin: Some("n1".parse().unwrap()), ..batch });
    }

    #[test]
    fn a_long_line_is_cut_in_pieces() {
        let text = vec![b'x'; MAX_TEXT * 2 + 5];
        let batch = check("a", request(vec![line("shop", "web.1", &text)])).unwrap();
        let pieces = &batch.apps[&"shop".parse().unwrap()];
        assert_eq!(
            pieces.iter().map(|piece| piece.text.len()).collect::<Vec<_>>(),
            [MAX_TEXT, MAX_TEXT, 5]
        );
    }

    #[test]
    fn a_bad_line_refuses_the_whole_batch() {
        for bad in [
            vec![line("shop", "web.1", b""), line("../x", "web.1", b"")],
            vec![line("shop", "web\n", b"")],
            vec![line("shop", &"x".repeat(201), b"")],
            vec![line("shop", "web.1", b""); MAX_LINES + 1],
        ] {
            assert!(check("a", request(bad)).is_err());
        }
    }
}
