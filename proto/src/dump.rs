//! The cluster's whole memory on its way to a file and back: lines of JSON, a [`Head`] first, then one [`Entry`] each.

use serde::{Deserialize, Serialize};

/// The version of these lines.
pub const VERSION: u32 = 1;

/// The content type of the lines.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

/// The first line that a controller writes: what follows, and what is needed beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Head {
    /// The version of the lines.
    pub version: u32,
    /// Which life of the memory it is.
    pub incarnation: String,
    /// The revision that every entry belongs to.
    pub revision: u64,
    /// Whether it is what one member remembered, without a quorum that could tell whether that is the newest.
    pub is_stale: bool,
    /// How many lines follow.
    pub entries: u64,
    /// How many of them are apps.
    pub apps: u64,
    /// How many of them are users.
    pub users: u64,
    /// The authority of all parts; absent where it is in the files of the node the cluster began on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityKey>,
    /// Images and git histories that the entries rely on now.
    pub images: Vec<Image>,
}

/// An authority with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuthorityKey {
    /// Its certificate.
    pub ca_pem: String,
    /// Its key.
    pub key_pem: String,
}

/// A manifest in the registries.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct Image {
    /// `shop`, or `git/shop` for its history.
    pub repository: String,
    /// `sha256:...`.
    pub digest: String,
}

/// One entry of the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value, in base64.
    pub value: String,
}

/// The first line of what a new cluster's controller finds in its folder, so as to begin with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// The version of the lines.
    pub version: u32,
    /// The backup's fingerprint.
    pub source: String,
    /// How many lines follow.
    pub entries: u64,
    /// The node the cluster begins anew on.
    pub node: String,
    /// What the certificates of its parts carry.
    pub admission: String,
    /// Where that node's registry is, `host:port`; images are named with it.
    pub registry: String,
}
