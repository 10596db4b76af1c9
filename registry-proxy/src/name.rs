//! The words of the registry's addresses, each parsed into a type that cannot leave its folder.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const MAX_REPOSITORY_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;
const PREFIX: &str = "sha256:";
const HEX_BYTES: usize = 64;

/// A text that is not such a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(&'static str);

/// A repository: words of lowercase letters and digits, joined by single separators, in a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository(String);

/// A tag of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

/// The SHA-256 of some content; its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(String);

/// How a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By the name it has now.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

impl Repository {
    /// The name as text; as a relative path it stays below its root and no part starts with `_`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Repository, NameError> {
        if text.len() <= MAX_REPOSITORY_BYTES && text.split('/').all(is_component) {
            return Ok(Repository(text.to_owned()));
        }
        Err(NameError(
            "a repository is at most 255 bytes of lowercase letters and digits, joined by `.`, `_`, `__`, `-` or `/`",
        ))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

impl Tag {
    /// The tag as text; never a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Tag, NameError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let valid = (1..=MAX_TAG_BYTES).contains(&text.len())
            && is_word(text.as_bytes()[0])
            && text.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-');
        if valid {
            return Ok(Tag(text.to_owned()));
        }
        Err(NameError(
            "a tag is 1 to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`",
        ))
    }
}

impl Digest {
    /// The digest of a finished hash.
    pub fn from_hash(hash: &[u8]) -> Digest {
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Digest(format!("{PREFIX}{hex}"))
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_hash(&<sha2::Sha256 as sha2::Digest>::digest(bytes))
    }

    /// With its algorithm: `sha256:...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The digest with these digits, as a file name has them.
    pub fn from_hex(hex: &str) -> Option<Digest> {
        format!("{PREFIX}{hex}").parse().ok()
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Digest, NameError> {
        match text.strip_prefix(PREFIX) {
            Some(hex) if is_hex(hex, HEX_BYTES) => Ok(Digest(text.to_owned())),
            Some(_) | None => {
                Err(NameError("a digest is `sha256:` and 64 lowercase hexadecimal digits"))
            }
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = NameError;

    fn try_from(text: String) -> Result<Digest, NameError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl UploadId {
    /// A name nobody can guess.
    pub fn random() -> UploadId {
        UploadId(format!("{:032x}", rand::random::<u128>()))
    }

    /// The name as text; never a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<UploadId, NameError> {
        if is_hex(text, 32) {
            return Ok(UploadId(text.to_owned()));
        }
        Err(NameError("an upload is named by 32 lowercase hexadecimal digits"))
    }
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Reference, NameError> {
        if text.contains(':') {
            return text.parse().map(Reference::Digest);
        }
        text.parse().map(Reference::Tag)
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for Repository {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => out.write_str(tag.as_str()),
            Reference::Digest(digest) => digest.fmt(out),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_specification() {
        for good in ["a", "shop", "library/shop", "a.b", "a_b", "a__b", "a---b", "1/2/3"] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "..",
            "a/../b",
            "a..b",
            "a___b",
            "a._b",
            "_a",
            "a-",
            ".a",
            "a b",
            "é",
            "a/_tags/b",
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
        assert!("a".repeat(255).parse::<Repository>().is_ok());
        assert!("a".repeat(256).parse::<Repository>().is_err());
    }

    #[test]
    fn a_reference_is_a_tag_or_a_digest() {
        let digest = Digest::of(b"");
        assert_eq!(
            digest.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.as_str().parse(), Ok(Reference::Digest(digest.clone())));
        assert_eq!(Digest::from_hex(digest.hex()), Some(digest));
        assert_eq!("v1.0".parse(), Ok(Reference::Tag(Tag("v1.0".to_owned()))));
        for bad in ["", ".", "..", "-a", "a/b", "sha256:beef", "sha512:00", "sha256:", ":"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
