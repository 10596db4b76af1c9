//! Server-sent events: bytes in any pieces become events.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A stream that says nothing for so long is broken; the controller sends comments in between.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest line kept; longer ones are cut.
const MAX_LINE_BYTES: usize = 1 << 20;

/// The data of events as they come.
pub struct Events {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<String>,
}

/// Turns bytes into the data of events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    data: Option<String>,
    after_return: bool,
}

/// Why there is no further event.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The other side said it all.
    Complete,
    /// The connection broke or fell silent.
    Broken,
}

impl Events {
    /// Events of this body.
    pub fn new(body: Incoming) -> Events {
        Events { body, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next event's data.
    pub async fn next(&mut self) -> Result<String, End> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Ok(data);
            }
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.ready.extend(self.parser.push(bytes));
                    }
                }
                Ok(None) => return Err(End::Complete),
                Ok(Some(Err(_))) | Err(_) => return Err(End::Broken),
            }
        }
    }
}

impl Parser {
    /// Takes more bytes; gives the data of the events that are now whole.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for &byte in bytes {
            let is_end = byte == b'\r' || (byte == b'\n' && !self.after_return);
            if is_end {
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&String::from_utf8_lossy(&line)));
            } else if byte != b'\n' && self.line.len() < MAX_LINE_BYTES {
                self.line.push(byte);
            }
            self.after_return = byte == b'\r';
        }
        events
    }

    fn end_line(&mut self, line: &str) -> Option<String> {
        if line.is_empty() {
            return self.data.take();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_names_and_half_events_are_no_events() {
        let mut parser = Parser::default();
        assert_eq!(
            parser.push(b": alive\n\nevent: x\nid: 3\ndata: a\ndata:b\n\ndata: half"),
            ["a\nb"]
        );
        assert_eq!(parser.push(b"\r\n\r\n"), ["half"]);
    }

    proptest! {
        #[test]
        fn events_are_the_same_however_the_bytes_are_cut(
            events in prop::collection::vec("[^\r\n]{0,20}(\n[^\r\n]{0,20}){0,3}", 0..8),
            ending in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            cuts in prop::collection::vec(1usize..9, 1..200),
        ) {
            let mut sent = String::new();
            for event in &events {
                sent.push_str(": comment");
                sent.push_str(ending);
                for line in event.split('\n') {
                    sent.push_str(&format!("data: {line}{ending}"));
                }
                sent.push_str(ending);
            }
            let mut parser = Parser::default();
            let mut got = Vec::new();
            let mut rest = sent.as_bytes();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                got.extend(parser.push(piece));
                rest = after;
            }
            prop_assert_eq!(got, events);
        }
    }
}
