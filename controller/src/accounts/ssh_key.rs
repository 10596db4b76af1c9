//! OpenSSH public keys: `ssh-ed25519 AAAA... comment`, read by hand.
//!
//! The base64 part is a sequence of length-prefixed fields whose first repeats the algorithm; it
//! is checked field by field, so that a stored key is one an SSH server can use.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// The smallest RSA modulus.
const MIN_RSA_BITS: usize = 2048;
/// The largest: checking signatures of a larger one costs too much.
const MAX_RSA_BITS: usize = 16_384;
/// The longest line.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Curves by algorithm, with the length of an uncompressed point.
const CURVES: [(&str, &str, usize); 3] = [
    ("ecdsa-sha2-nistp256", "nistp256", 65),
    ("ecdsa-sha2-nistp384", "nistp384", 97),
    ("ecdsa-sha2-nistp521", "nistp521", 133),
];

/// A public key that may push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `ssh-ed25519`, ...
    pub algorithm: String,
    /// `SHA256:...`.
    pub fingerprint: String,
    /// Algorithm and base64, without the comment.
    pub text: String,
    /// What followed; may be empty.
    pub comment: String,
}

/// Why a text is not a usable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret half.
    #[error("this is a private key: never give it away")]
    Private,
    /// Not one line.
    #[error("a public key is one line")]
    Lines,
    /// Not of the form at all.
    #[error("this is not a public key in OpenSSH form")]
    Form,
    /// Something stands before the algorithm.
    #[error("options before the key are not supported")]
    Options,
    /// An algorithm we do not take.
    #[error("keys of this algorithm are not supported")]
    Algorithm,
    /// The base64 part is cut, changed, or of another algorithm.
    #[error("the key is damaged: its data does not fit its algorithm")]
    Damaged,
    /// RSA below the least.
    #[error("the RSA key is too small: it needs at least {MIN_RSA_BITS} bits")]
    SmallRsa,
    /// RSA above the most.
    #[error("the RSA key is too large: the most is {MAX_RSA_BITS} bits")]
    LargeRsa,
}

impl KeyError {
    /// What to do next.
    pub fn hint(self) -> &'static str {
        match self {
            KeyError::Private => "give the public half, the file that ends in `.pub`",
            KeyError::Lines | KeyError::Form | KeyError::Damaged => {
                "give the whole line of a `.pub` file, such as ~/.ssh/id_ed25519.pub"
            }
            KeyError::Options => "leave out what stands before `ssh-...` or `ecdsa-...`",
            KeyError::Algorithm | KeyError::SmallRsa | KeyError::LargeRsa => {
                "make one with `ssh-keygen -t ed25519`; ed25519, ecdsa and rsa from 2048 bits are taken"
            }
        }
    }
}

/// Reads one line in OpenSSH form.
pub fn parse(line: &str) -> Result<PublicKey, KeyError> {
    let line = line.trim();
    if line.contains("PRIVATE KEY") {
        return Err(KeyError::Private);
    }
    if line.lines().count() != 1 || line.len() > MAX_LINE_BYTES {
        return Err(KeyError::Lines);
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(algorithm), Some(data)) = (words.next(), words.next()) else {
        return Err(KeyError::Form);
    };
    if !is_supported(algorithm) {
        return Err(unsupported(algorithm, line));
    }
    let blob = STANDARD.decode(data).map_err(|_| KeyError::Damaged)?;
    check_blob(algorithm, &blob)?;
    Ok(PublicKey {
        algorithm: algorithm.to_owned(),
        fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))),
        text: format!("{algorithm} {data}"),
        comment: words.collect::<Vec<_>>().join(" "),
    })
}

fn is_supported(algorithm: &str) -> bool {
    matches!(algorithm, "ssh-ed25519" | "ssh-rsa")
        || CURVES.iter().any(|(name, _, _)| *name == algorithm)
}

fn unsupported(first: &str, line: &str) -> KeyError {
    let rest = line.split_ascii_whitespace().skip(1);
    if rest.into_iter().any(is_supported) {
        return KeyError::Options;
    }
    let is_algorithm = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| first.starts_with(prefix));
    if is_algorithm { KeyError::Algorithm } else { KeyError::Form }
}

fn check_blob(algorithm: &str, blob: &[u8]) -> Result<(), KeyError> {
    let fields = fields(blob).ok_or(KeyError::Damaged)?;
    let curve = CURVES.iter().find(|(name, _, _)| *name == algorithm);
    match (fields.as_slice(), curve) {
        ([name, ..], _) if *name != algorithm.as_bytes() => Err(KeyError::Damaged),
        ([_, point], None) if algorithm == "ssh-ed25519" && point.len() == 32 => Ok(()),
        ([_, name, point], Some((_, curve, length)))
            if *name == curve.as_bytes() && point.len() == *length && point[0] == 4 =>
        {
            Ok(())
        }
        ([_, exponent, modulus], None) if algorithm == "ssh-rsa" && !exponent.is_empty() => {
            match bits(modulus) {
                ..MIN_RSA_BITS => Err(KeyError::SmallRsa),
                MIN_RSA_BITS..=MAX_RSA_BITS => Ok(()),
                _ => Err(KeyError::LargeRsa),
            }
        }
        _ => Err(KeyError::Damaged),
    }
}

/// The length-prefixed fields of a blob; none if a length lies.
fn fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !blob.is_empty() {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        fields.push(field);
        blob = rest;
    }
    Some(fields)
}

/// The size of a big-endian number.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    match number.get(zeros) {
        Some(first) => (number.len() - zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests;
