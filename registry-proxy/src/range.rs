//! The two kinds of ranges clients send: `Range` to read a part of a blob, `Content-Range` to continue an upload. Pure.

/// What a `Range` header asks of content that has a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no range, or one we do not serve.
    Whole,
    /// The bytes from `first` to `last`, both included.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// Nothing that exists.
    Unsatisfiable,
}

/// Reads a `Range` header for content of `size` bytes. Several ranges at once are answered with the whole.
pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((from, to)) = range.split_once('-') else { return Wanted::Whole };
    let part = |first: u64, last: u64| {
        if first > last || first >= size {
            return Wanted::Unsatisfiable;
        }
        Wanted::Part { first, last: last.min(size - 1) }
    };
    match (from, to, number(from), number(to)) {
        (_, _, Some(first), Some(last)) => part(first, last),
        (_, "", Some(first), None) => part(first, u64::MAX),
        ("", _, None, Some(0)) => Wanted::Unsatisfiable,
        ("", _, None, Some(length)) => part(size.saturating_sub(length), u64::MAX),
        _ => Wanted::Whole,
    }
}

/// Where a chunk stands in its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The offset of its first byte.
    pub first: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// Reads a `Content-Range` of the form `0-99`; none if it is anything else.
pub fn chunk(header: &str) -> Option<Chunk> {
    let (first, last) = header.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = last.checked_sub(first)?.checked_add(1)?;
    Some(Chunk { first, length })
}

/// The `Range` header that says how much of an upload is here. An empty upload says `0-0`, as clients expect.
pub fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_clamped_or_refused() {
        let part = |first, last| Wanted::Part { first, last };
        for (header, expected) in [
            ("bytes=500-1499", part(500, 1499)),
            ("bytes=500-", part(500, 2999)),
            ("bytes=-500", part(2500, 2999)),
            ("bytes=-5000", part(0, 2999)),
            ("bytes=2000-5000", part(2000, 2999)),
            ("bytes=2999-2999", part(2999, 2999)),
            ("bytes=500-0", Wanted::Unsatisfiable),
            ("bytes=3000-", Wanted::Unsatisfiable),
            ("bytes=5000-10000", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), 3000), expected, "{header}");
        }
        assert_eq!(wanted(None, 3000), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn a_chunk_says_where_it_starts_and_how_long_it_is() {
        assert_eq!(chunk("10-19"), Some(Chunk { first: 10, length: 10 }));
        for bad in ["", "10", "19-10", "-5", "a-b", "0-18446744073709551615", "bytes 0-1/2"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
        assert_eq!((received(0), received(10)), ("0-0".to_owned(), "0-9".to_owned()));
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_content(header in "(bytes=)?\\PC{0,20}", from: u64, to: u64, size: u64) {
            for header in [header, format!("bytes={from}-{to}")] {
                if let Wanted::Part { first, last } = wanted(Some(&header), size) {
                    prop_assert!(first <= last && last < size);
                }
            }
        }
    }
}
