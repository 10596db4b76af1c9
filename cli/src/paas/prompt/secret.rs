//! A line typed at the terminal that is not shown.
//!
//! The terminal hands over every key, so that an interrupt, too, gives it back as it was.

use std::io::BufRead;

/// Keys that end or edit the line.
const INTERRUPT: u8 = 0x03;
const END_OF_INPUT: u8 = 0x04;
const ERASE: [u8; 2] = [0x08, 0x7f];
const ERASE_LINE: u8 = 0x15;
const ENTER: [u8; 2] = [b'\r', b'\n'];
/// More than any password is long.
const MAX_BYTES: usize = 4096;

/// How typing came to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// This was typed.
    Line(String),
    /// Nothing more can come.
    Nothing,
    /// Somebody wants to stop.
    Interrupted,
}

/// Reads keys up to the end of the line.
pub fn read(keys: impl BufRead) -> std::io::Result<Typed> {
    let mut line = Vec::new();
    for key in keys.bytes() {
        match key? {
            INTERRUPT => return Ok(Typed::Interrupted),
            END_OF_INPUT if line.is_empty() => return Ok(Typed::Nothing),
            key if ENTER.contains(&key) => {
                return Ok(Typed::Line(String::from_utf8_lossy(&line).into_owned()));
            }
            key if ERASE.contains(&key) => erase(&mut line),
            ERASE_LINE => line.clear(),
            key if key.is_ascii_control() || line.len() == MAX_BYTES => {}
            key => line.push(key),
        }
    }
    Ok(Typed::Nothing)
}

/// Takes the last character, of however many bytes.
fn erase(line: &mut Vec<u8>) {
    let is_rest_of_character = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    while let Some(byte) = line.pop() {
        if !is_rest_of_character(byte) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_a_line_and_some_edit_it() {
        let line = |keys: &[u8]| match read(keys).unwrap() {
            Typed::Line(line) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(b"open sesame\r"), "open sesame");
        assert_eq!(line("ab\u{e9}\u{7f}c\n".as_bytes()), "abc");
        assert_eq!(line(b"wrong\x15right\x08T\r"), "righT");
        assert_eq!(line(b"\x7f\x1ba\x04\r"), "a", "keys without a meaning are no part of it");
        for (keys, end) in [
            (&b"abc\x03"[..], Typed::Interrupted),
            (b"\x04", Typed::Nothing),
            (b"abc", Typed::Nothing),
        ] {
            assert_eq!(read(keys).unwrap(), end);
        }
    }
}
