//! Frames: how records stand in a file, so that a torn or damaged one is seen and the file can be read from both ends. Pure.
//!
//! ```text
//! | length | checksum | payload ... | length |      each number 4 bytes, little endian
//! ```

/// What a frame adds to its payload.
pub const OVERHEAD: usize = 12;
/// A longer payload is never written; a file that says so is damaged.
pub const MAX_PAYLOAD: usize = 8 << 20;

/// What stands at one end of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole frame.
    Whole {
        /// What it carries.
        payload: &'a [u8],
        /// How many bytes it takes.
        length: usize,
    },
    /// The beginning (or end) of a frame of so many bytes, as far as one can tell.
    Short {
        /// The bytes needed to tell more.
        needed: usize,
    },
    /// No frame.
    Broken,
}

/// Makes a frame. Panics if the payload is too long; batches are limited far below.
pub fn encode(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= MAX_PAYLOAD, "a record is never longer than a frame allows");
    let length = u32::try_from(payload.len()).expect("the limit fits 32 bits").to_le_bytes();
    let mut frame = Vec::with_capacity(payload.len() + OVERHEAD);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&checksum(length, payload).to_le_bytes());
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&length);
    frame
}

/// The frame at the start of these bytes.
pub fn first(bytes: &[u8]) -> Parsed<'_> {
    let Some(length) = bytes.first_chunk::<4>() else { return Parsed::Short { needed: OVERHEAD } };
    let payload = u32::from_le_bytes(*length) as usize;
    if payload > MAX_PAYLOAD {
        return Parsed::Broken;
    }
    match bytes.get(..payload + OVERHEAD) {
        Some(frame) => check(frame),
        None => Parsed::Short { needed: payload + OVERHEAD },
    }
}

/// The frame at the end of these bytes.
pub fn last(bytes: &[u8]) -> Parsed<'_> {
    let Some(length) = bytes.last_chunk::<4>() else { return Parsed::Short { needed: OVERHEAD } };
    let payload = u32::from_le_bytes(*length) as usize;
    if payload > MAX_PAYLOAD {
        return Parsed::Broken;
    }
    match bytes.len().checked_sub(payload + OVERHEAD) {
        Some(start) => check(&bytes[start..]),
        None => Parsed::Short { needed: payload + OVERHEAD },
    }
}

/// Bytes of a frame's full length: is it one?
fn check(frame: &[u8]) -> Parsed<'_> {
    let (Some((length, rest)), Some(trailer)) =
        (frame.split_first_chunk::<4>(), frame.last_chunk::<4>())
    else {
        return Parsed::Broken;
    };
    let Some((sum, rest)) = rest.split_first_chunk::<4>() else { return Parsed::Broken };
    let payload = &rest[..rest.len() - 4];
    let is_whole = length == trailer
        && u32::from_le_bytes(*length) as usize == payload.len()
        && u32::from_le_bytes(*sum) == checksum(*length, payload);
    if is_whole { Parsed::Whole { payload, length: frame.len() } } else { Parsed::Broken }
}

/// Covers the length too: a run of zeros is no frame.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every frame from the front, and how many bytes they take.
    fn forward(mut bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let (mut all, mut taken) = (Vec::new(), 0);
        while let Parsed::Whole { payload, length } = first(bytes) {
            all.push(payload.to_vec());
            bytes = &bytes[length..];
            taken += length;
        }
        (all, taken)
    }

    fn backward(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Parsed::Whole { payload, length } = last(bytes) {
            all.insert(0, payload.to_vec());
            bytes = &bytes[..bytes.len() - length];
        }
        all
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(first(&[0; 64]), Parsed::Broken);
        assert_eq!(last(&[0; 64]), Parsed::Broken);
        assert_eq!(first(&[]), Parsed::Short { needed: OVERHEAD });
        assert_eq!(first(&[0xff; 64]), Parsed::Broken);
    }

    proptest! {
        #[test]
        fn frames_are_read_back_from_both_ends(payloads: Vec<Vec<u8>>) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| encode(payload)).collect();
            prop_assert_eq!(forward(&bytes), (payloads.clone(), bytes.len()));
            prop_assert_eq!(backward(&bytes), payloads);
        }

        #[test]
        fn a_cut_file_keeps_every_whole_frame(payloads in proptest::collection::vec(any::<Vec<u8>>(), 1..8), cut: prop::sample::Index) {
            let frames: Vec<Vec<u8>> = payloads.iter().map(|payload| encode(payload)).collect();
            let bytes = frames.concat();
            let cut = cut.index(bytes.len());
            let mut end = 0;
            let whole = frames.iter().take_while(|frame| { end += frame.len(); end <= cut }).count();
            prop_assert_eq!(&forward(&bytes[..cut]).0, &payloads[..whole]);
        }

        #[test]
        fn a_changed_bit_is_seen(payload: Vec<u8>, place: prop::sample::Index, bit in 0..8_u8) {
            let mut frame = encode(&payload);
            let place = place.index(frame.len());
            frame[place] ^= 1 << bit;
            let is_whole = |parsed: Parsed<'_>| matches!(parsed, Parsed::Whole { .. });
            prop_assert!(!is_whole(first(&frame)) && !is_whole(last(&frame)));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            first(&bytes);
            last(&bytes);
        }
    }
}
