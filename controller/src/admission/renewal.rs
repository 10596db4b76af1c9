//! New certificates for a node that has some: each part asks for its own, and proves itself with the one that is about to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use model::node::NodeSpec;
use service::Peer;

use super::{Admitted, Authorities, SignError, sign_all};
use crate::Context;
use crate::records::{Document, ReadError};

/// Why nothing was renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// A part asks for another part's.
    #[error("{peer} has no certificate `{name}`")]
    NotItsOwn {
        /// Who asked.
        peer: Peer,
        /// For what.
        name: String,
    },
    /// This cluster or node has none that are signed here.
    #[error("the certificates of node `{0}` are not signed by controllers")]
    Elsewhere(String),
    /// The store did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Signs what a part asks for. Its node must be known to be in the cluster.
pub async fn renew(
    context: &Context,
    peer: &Peer,
    requests: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, RenewError> {
    if let Some(name) = requests.keys().find(|name| !is_own(&peer.role, name)) {
        return Err(RenewError::NotItsOwn { peer: peer.clone(), name: name.clone() });
    }
    let elsewhere = || RenewError::Elsewhere(peer.node.clone());
    let key = format!("{}{}", NodeSpec::PREFIX, peer.node);
    let spec = context.records.get::<NodeSpec>(&key).await?.ok_or_else(elsewhere)?.value;
    let authorities = context.records.get::<Authorities>(Authorities::PREFIX).await?;
    let agent: SocketAddr = spec.addresses.agent.parse().map_err(|_| elsewhere())?;
    let admitted = Admitted {
        domain: &context.platform.domain,
        node: &spec.name,
        address: agent.ip(),
        controls: spec.addresses.gateway.is_some(),
        admission: &spec.admission,
    };
    let authorities = authorities.ok_or_else(elsewhere)?.value;
    let signed = sign_all(&authorities, &context.seal, &admitted, requests)?;
    tracing::info!(%peer, "certificates renewed");
    Ok(signed)
}

/// Which certificates a part answers for, so that one that was taken over cannot become another.
fn is_own(role: &str, name: &str) -> bool {
    match name {
        "platform" => role == "router",
        "api" | "store-peer" | "store-client" => role == "controller",
        own => role == own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_given_nothing_that_another_part_proves() {
        assert!(is_own("agent", "agent") && is_own("router", "platform"));
        assert!(is_own("controller", "api") && is_own("controller", "store-peer"));
        for name in ["controller", "router", "platform", "api", "store-client"] {
            assert!(!is_own("agent", name), "{name}");
        }
    }
}
