//! The certificates of a node, when it comes in and when they are renewed: what each may prove is decided here, whatever
//! was asked for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::name::NodeName;
use service::identity::{AuthorityError, Wanted};
use service::{Authority, Subject};

use super::{Authorities, OpenError, SealedAuthority};
use crate::seal::Seal;

/// As for the node a cluster begins on.
const IDENTITY_DAYS: u32 = 825;
const SERVER_DAYS: u32 = 397;

/// The parts of every node, and those only of one that controls.
const PARTS: [&str; 4] = ["agent", "logger", "registry-proxy", "router"];
const CONTROL_PARTS: [&str; 2] = ["builder", "controller"];

/// Who signs what.
struct Signers {
    parts: Authority,
    store_peers: Authority,
    store_clients: Authority,
}

/// For whom is signed.
pub struct Admitted<'a> {
    /// The platform's domain.
    pub domain: &'a str,
    /// The node.
    pub node: &'a NodeName,
    /// Its address.
    pub address: IpAddr,
    /// Whether it has a controller.
    pub controls: bool,
    /// The mark of its admission.
    pub admission: &'a str,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No authority can be used.
    #[error("open an authority")]
    Open(#[from] OpenError),
    /// There is no such certificate.
    #[error("a node has no certificate `{0}`")]
    Unknown(String),
    /// What was asked is no signing request.
    #[error("the request for `{name}` cannot be signed: {cause}")]
    Request {
        /// The certificate.
        name: String,
        /// Why.
        cause: AuthorityError,
    },
}

/// One certificate per request.
pub fn sign_all(
    authorities: &Authorities,
    seal: &Seal,
    admitted: &Admitted<'_>,
    requests: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, SignError> {
    let open = |sealed: &SealedAuthority| sealed.open(seal);
    let signers = Signers {
        parts: open(&authorities.parts)?,
        store_peers: open(&authorities.store_peers)?,
        store_clients: open(&authorities.store_clients)?,
    };
    let mut signed = BTreeMap::new();
    for (name, csr) in requests {
        let certificate = sign(&signers, admitted, name, csr)?;
        signed.insert(name.clone(), certificate);
    }
    Ok(signed)
}

fn sign(
    signers: &Signers,
    admitted: &Admitted<'_>,
    name: &str,
    csr: &str,
) -> Result<String, SignError> {
    let Admitted { domain, address, controls, admission, .. } = *admitted;
    let local: [IpAddr; 3] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), address];
    let node = admitted.node.as_str();
    let signed = match name {
        "platform" => {
            let names = [domain.to_owned(), format!("*.{domain}")];
            signers.parts.sign(csr, &Wanted::Server(&names, &[]), SERVER_DAYS)
        }
        "api" if controls => {
            let names = [format!("deis.{domain}"), "localhost".to_owned(), node.to_owned()];
            let signed = signers.parts.sign(csr, &Wanted::Server(&names, &local), SERVER_DAYS);
            // Joining machines know the authority by its fingerprint only, so it is shown to them.
            signed.map(|leaf| leaf + signers.parts.ca_pem())
        }
        "store-peer" if controls => {
            signers.store_peers.sign(csr, &Wanted::Store(address), IDENTITY_DAYS)
        }
        "store-client" if controls => {
            signers.store_clients.sign(csr, &Wanted::Store(address), IDENTITY_DAYS)
        }
        role if PARTS.contains(&role) || (controls && CONTROL_PARTS.contains(&role)) => {
            let dns = vec!["localhost".to_owned()];
            let subject = Subject { role, node, dns, ips: local.to_vec() };
            signers.parts.sign(csr, &Wanted::Part(&subject, admission), IDENTITY_DAYS)
        }
        _ => return Err(SignError::Unknown(name.to_owned())),
    };
    signed.map_err(|cause| SignError::Request { name: name.to_owned(), cause })
}
