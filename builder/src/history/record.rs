//! What a history is made of: packs that follow one another, and where the refs stand. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How a history is stored.
pub const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// After this many packs the next one holds everything.
const MAX_PACKS: usize = 16;
const PACK_TYPE: &str = "application/x-git-packed-objects";
const REFS_TYPE: &str = "application/vnd.trireme.git-refs.v1+json";

/// Where each ref stands.
pub type Refs = BTreeMap<String, String>;

/// A git history as the registries keep it. In a repository's folder it says what that one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    /// Where the refs stand; small, so it travels in `refs` below, and this blob is its text.
    config: Blob,
    /// The packs, oldest first.
    pub layers: Vec<Blob>,
    /// The refs as text.
    annotations: BTreeMap<String, String>,
}

/// A file of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    media_type: String,
    /// sha256:...
    pub digest: String,
    size: u64,
}

const REFS: &str = "trireme.refs";

impl Record {
    /// One that follows `before` (if any) by one pack, or by none where only refs moved.
    pub fn following(before: Option<&Record>, pack: Option<Blob>, refs: &Refs) -> Record {
        let mut layers = before.map(|before| before.layers.clone()).unwrap_or_default();
        layers.extend(pack);
        let text = serde_json::to_string(refs).expect("refs are plain text");
        Record {
            schema_version: 2,
            media_type: MEDIA_TYPE.to_owned(),
            artifact_type: "application/vnd.trireme.git-history.v1".to_owned(),
            config: Blob::of(REFS_TYPE, text.as_bytes()),
            layers,
            annotations: BTreeMap::from([(REFS.to_owned(), text)]),
        }
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Record, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// As it is stored.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is plain text and numbers")
    }

    /// The digest of that.
    pub fn digest(&self) -> String {
        digest(&Sha256::digest(self.bytes()))
    }

    /// Where the refs stand.
    pub fn refs(&self) -> Result<Refs, serde_json::Error> {
        serde_json::from_str(self.refs_text())
    }

    /// The text of the refs, which is also a blob of its own, as the format wants one.
    pub fn refs_text(&self) -> &str {
        self.annotations.get(REFS).map_or("{}", String::as_str)
    }

    /// The digest of that text.
    pub fn refs_digest(&self) -> &str {
        &self.config.digest
    }

    /// Whether the next one shall begin anew.
    pub fn is_long(&self) -> bool {
        self.layers.len() >= MAX_PACKS
    }

    /// The packs that somebody who has `known` lacks.
    pub fn lacking<'a>(&'a self, known: Option<&Record>) -> Vec<&'a Blob> {
        let has = |blob: &Blob| {
            known.is_some_and(|known| known.layers.iter().any(|own| own.digest == blob.digest))
        };
        self.layers.iter().filter(|blob| !has(blob)).collect()
    }
}

impl Blob {
    /// A pack with this digest and size.
    pub fn pack(digest: String, size: u64) -> Blob {
        Blob { media_type: PACK_TYPE.to_owned(), digest, size }
    }

    fn of(media_type: &str, bytes: &[u8]) -> Blob {
        let digest = digest(&Sha256::digest(bytes));
        Blob { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
    }
}

/// A finished hash as registries write it.
pub fn digest(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(commit: &str) -> Refs {
        BTreeMap::from([("refs/heads/master".to_owned(), commit.to_owned())])
    }

    #[test]
    fn a_history_grows_by_packs_and_comes_back_as_it_was() {
        let first = Record::following(None, Some(Blob::pack("sha256:1".into(), 1)), &refs("a"));
        let second =
            Record::following(Some(&first), Some(Blob::pack("sha256:2".into(), 1)), &refs("b"));
        let read = Record::parse(&second.bytes()).unwrap();
        assert_eq!((&read, read.digest()), (&second, second.digest()));
        assert_eq!(read.refs().unwrap(), refs("b"));
        let digests =
            |blobs: Vec<&Blob>| blobs.iter().map(|blob| blob.digest.clone()).collect::<Vec<_>>();
        assert_eq!(digests(second.lacking(Some(&first))), ["sha256:2"]);
        assert_eq!(digests(second.lacking(None)), ["sha256:1", "sha256:2"]);
        // Only a ref moved.
        let third = Record::following(Some(&second), None, &refs("a"));
        assert_eq!(third.layers, second.layers);
        assert_ne!(third.digest(), second.digest());
    }

    #[test]
    fn a_long_history_begins_anew() {
        let mut record = Record::following(None, None, &refs("a"));
        for number in 0..MAX_PACKS {
            assert!(!record.is_long());
            let pack = Blob::pack(format!("sha256:{number}"), 1);
            record = Record::following(Some(&record), Some(pack), &refs("a"));
        }
        assert!(record.is_long());
    }
}
