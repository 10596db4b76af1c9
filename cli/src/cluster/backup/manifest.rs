//! What a backup is of: its first part, and the names of the others.

use proto::dump::{Head, Image};
use serde::{Deserialize, Serialize};

use super::super::choices::Choices;

/// The version of the format.
pub const FORMAT: u32 = 1;
const KIND: &str = "trireme backup";

/// The key under which secrets are sealed.
pub const SEAL_KEY: &str = "keys/seal.key";
/// The authority's certificate.
pub const CA_PEM: &str = "keys/ca.pem";
/// The authority's key.
pub const CA_KEY: &str = "keys/ca.key";
/// The key by which git clients know the builder.
pub const HOST_KEY: &str = "keys/ssh_host_ed25519_key";
/// What the names of the entries' parts begin with.
pub const STORE: &str = "store/";
/// What the names of the images' parts begin with.
pub const IMAGES: &str = "images/";
/// Images that no registry had.
pub const MISSING: &str = "missing.json";

/// The first part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    kind: String,
    /// The version of the format.
    pub format: u32,
    /// The version of Trireme.
    pub version: String,
    /// When it was made.
    pub made: String,
    /// The cluster's name.
    pub cluster: String,
    /// Whose choices stand for the cluster's: of the node where it was made.
    pub choices: Choices,
    /// Which life of the memory it is.
    pub incarnation: String,
    /// The revision every entry is of.
    pub revision: u64,
    /// Whether there was no quorum: then there may have been newer entries.
    pub is_stale: bool,
    /// How many entries the memory had.
    pub entries: u64,
    /// How many of them are apps.
    pub apps: u64,
    /// How many are users.
    pub users: u64,
    /// The images and git histories in it; none if they were left out.
    pub images: Option<Vec<Image>>,
}

impl Manifest {
    /// Of what a controller gave.
    pub fn of(head: &Head, choices: &Choices, with_images: bool) -> Manifest {
        let several = choices.several.as_ref();
        // Nodes that joined were not told it.
        let cluster =
            several.map(|several| several.cluster.clone()).filter(|name| !name.is_empty());
        Manifest {
            kind: KIND.to_owned(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made: jiff::Timestamp::now().to_string(),
            cluster: cluster.unwrap_or_else(|| choices.domain.clone()),
            choices: choices.clone(),
            incarnation: head.incarnation.clone(),
            revision: head.revision,
            is_stale: head.is_stale,
            entries: head.entries,
            apps: head.apps,
            users: head.users,
            images: with_images.then(|| head.images.clone()),
        }
    }

    /// Reads one; its reason is told to the user.
    pub fn parse(content: &[u8]) -> anyhow::Result<Manifest> {
        #[derive(Deserialize)]
        struct Kind {
            kind: String,
            format: u32,
        }
        let kind: Option<Kind> = serde_json::from_slice(content).ok();
        match kind {
            Some(known) if known.kind == KIND && known.format <= FORMAT => {
                Ok(serde_json::from_slice(content)?)
            }
            Some(newer) if newer.kind == KIND => anyhow::bail!(
                "understand it: it has format {}, and this program knows up to {FORMAT}. Use the clusterctl of the Trireme that made it, or a newer one",
                newer.format
            ),
            Some(_) | None => anyhow::bail!("understand it: it is no backup of Trireme"),
        }
    }

    /// In a few words.
    pub fn words(&self) -> String {
        let images = match &self.images {
            Some(images) => format!("{} images and git histories", images.len()),
            None => "no images".to_owned(),
        };
        let stale =
            if self.is_stale { "; made without a quorum, of what one node remembered" } else { "" };
        format!(
            "cluster `{}` at {}: {} apps, {} users, {} entries of incarnation {}, {images}{stale}",
            self.cluster, self.made, self.apps, self.users, self.entries, self.incarnation
        )
    }
}
