//! How a machine comes to be a node: the authorities that sign its certificates, the tokens that let it ask, the mark
//! its certificates carry.

mod renewal;
mod signing;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use model::name::NodeName;
use model::node::NodeSpec;
use model::release::Sealed;
use model::snapshot::Versioned;
use model::time::Time;
use serde::{Deserialize, Serialize};
use service::identity::{AuthorityError, CA_KEY_FILE};
use service::{Authority, Peer};

use crate::records::{CommitError, Document, Records, Write};
use crate::seal::{Seal, SealError};

pub use renewal::{RenewError, renew};
pub use signing::{Admitted, SignError, sign_all};

/// The cluster's authorities, so that every controller can sign. Three, so that a certificate of one kind is none of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// Of all parts and of what users see.
    pub parts: SealedAuthority,
    /// Of the store's members among themselves.
    pub store_peers: SealedAuthority,
    /// Of the store's members and their clients, the controllers.
    pub store_clients: SealedAuthority,
}

/// An authority with its key sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedAuthority {
    /// Its certificate.
    pub ca_pem: String,
    /// Its key.
    pub key: Sealed,
}

/// The right to join, once. Only the secret's SHA-256 is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of the secret, hex.
    pub secret_hash: String,
    /// When it ends.
    pub expires: Time,
    /// By whom it was used.
    pub used: Option<Used>,
    /// Of the node that the machine which comes with it replaces.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Who used a token. The same machine may ask again with it, in case the answer was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The node.
    pub node: NodeName,
    /// SHA-256 of what only that machine can send.
    pub machine: String,
}

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its key was sealed with another key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It is none.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What the sealed keys are sealed for.
const PLACE: &str = "cluster/authorities";

impl SealedAuthority {
    /// Seals one.
    pub fn seal(seal: &Seal, authority: &Authority) -> SealedAuthority {
        let key = seal.seal(PLACE, authority.key_pem().as_bytes());
        SealedAuthority { ca_pem: authority.ca_pem().to_owned(), key }
    }

    /// Opens it.
    pub fn open(&self, seal: &Seal) -> Result<Authority, OpenError> {
        let key = zeroize::Zeroizing::new(seal.open_text(PLACE, &self.key)?);
        Ok(Authority::from_pem(&self.ca_pem, &key)?)
    }
}

/// Puts the authorities of the node the cluster began on into the store, for all controllers. Once.
pub async fn share_authorities(records: &Records, seal: &Seal, data: &Path) -> anyhow::Result<()> {
    let folders = [data.join("ca"), data.join("etcd/peer-ca"), data.join("etcd/client-ca")];
    if !folders.iter().all(|folder| folder.join(CA_KEY_FILE).exists())
        || records.get::<Authorities>(Authorities::PREFIX).await?.is_some()
    {
        return Ok(());
    }
    let open = |folder: &Path| -> anyhow::Result<SealedAuthority> {
        let authority = Authority::open(folder).context("share the cluster's authorities")?;
        Ok(SealedAuthority::seal(seal, &authority))
    };
    let [parts, store_peers, store_clients] = folders;
    let authorities = Authorities {
        parts: open(&parts)?,
        store_peers: open(&store_peers)?,
        store_clients: open(&store_clients)?,
    };
    match records.commit(Write::new().create(&authorities)).await {
        // This machine was faster than itself: it was cut off after an earlier try.
        Ok(_) | Err(CommitError::Conflict) => Ok(()),
        Err(error) => Err(error).context("share the cluster's authorities"),
    }
}

/// Whether the caller's node is in the cluster, and the certificate is of its present admission.
pub fn is_admitted(specs: &BTreeMap<NodeName, Versioned<NodeSpec>>, peer: &Peer) -> bool {
    let Ok(name) = peer.node.parse::<NodeName>() else { return false };
    match specs.get(&name) {
        Some(spec) => spec.value.is_member() && spec.value.admission == peer.admission,
        // The node the cluster began on, before it was first heard.
        None => peer.admission.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use model::node::{Addresses, Duty};

    use super::*;

    fn specs(admission: &str, duty: Duty) -> BTreeMap<NodeName, Versioned<NodeSpec>> {
        let spec = NodeSpec {
            name: "n1".parse().unwrap(),
            addresses: Addresses::default(),
            labels: BTreeMap::new(),
            duty,
            joined: Time(1),
            admission: admission.to_owned(),
        };
        BTreeMap::from([(spec.name.clone(), Versioned { value: spec, revision: 1 })])
    }

    fn peer(admission: &str) -> Peer {
        Peer { role: "agent".into(), node: "n1".into(), admission: admission.into() }
    }

    #[test]
    fn certificates_of_an_earlier_machine_of_the_name_prove_nothing() {
        let now = specs("b", Duty::Open);
        let admitted = ["a", "b", ""].map(|admission| is_admitted(&now, &peer(admission)));
        assert_eq!(admitted, [false, true, false]);
        let removed = specs("b", Duty::Removed { at: Time(2) });
        assert!(!is_admitted(&removed, &peer("b")));
    }

    #[test]
    fn a_node_nobody_admitted_is_the_first_or_none() {
        assert!(is_admitted(&BTreeMap::new(), &peer("")));
        assert!(!is_admitted(&BTreeMap::new(), &peer("a")));
    }

    #[test]
    fn an_authority_is_opened_as_it_was_sealed() {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let seal = Seal::new(&[7; 32]);
        let sealed = SealedAuthority::seal(&seal, &authority);
        assert_eq!(sealed.open(&seal).unwrap().key_pem(), authority.key_pem());
        assert!(sealed.open(&Seal::new(&[8; 32])).is_err());
    }
}
