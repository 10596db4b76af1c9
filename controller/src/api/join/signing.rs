//! The certificates of a new node: what each may prove is decided here, whatever was asked for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use service::identity::{AuthorityError, Wanted};
use service::{Authority, Subject};

use super::Wish;
use crate::admission::Authorities;
use crate::api::Api;
use crate::api::answer::{Answer, Failure};

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

/// One certificate per request.
pub(super) fn sign_all(
    api: &Api,
    authorities: &Authorities,
    wish: &Wish,
    admission: &str,
    requests: &BTreeMap<String, String>,
) -> Answer<BTreeMap<String, String>> {
    let open = |sealed: &crate::admission::SealedAuthority| {
        sealed.open(&api.seal).map_err(|error| Failure::internal("open an authority", &error))
    };
    let signers = Signers {
        parts: open(&authorities.parts)?,
        store_peers: open(&authorities.store_peers)?,
        store_clients: open(&authorities.store_clients)?,
    };
    let mut signed = BTreeMap::new();
    for (name, csr) in requests {
        let certificate = sign(&signers, &api.platform.domain, wish, admission, name, csr)?;
        signed.insert(name.clone(), certificate);
    }
    Ok(signed)
}

fn sign(
    signers: &Signers,
    domain: &str,
    wish: &Wish,
    admission: &str,
    name: &str,
    csr: &str,
) -> Answer<String> {
    let controls = wish.store_peer.is_some();
    let local: [IpAddr; 3] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), wish.address];
    let node = wish.node.as_str();
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
            signers.store_peers.sign(csr, &Wanted::Store(wish.address), IDENTITY_DAYS)
        }
        "store-client" if controls => {
            signers.store_clients.sign(csr, &Wanted::Store(wish.address), IDENTITY_DAYS)
        }
        role if PARTS.contains(&role) || (controls && CONTROL_PARTS.contains(&role)) => {
            let dns = vec!["localhost".to_owned()];
            let subject = Subject { role, node, dns, ips: local.to_vec() };
            signers.parts.sign(csr, &Wanted::Part(&subject, admission), IDENTITY_DAYS)
        }
        _ => {
            return Err(Failure::invalid(format!("a node has no certificate `{name}`")));
        }
    };
    signed.map_err(|error: AuthorityError| {
        Failure::invalid(format!("the request for `{name}` cannot be signed: {error}"))
    })
}
