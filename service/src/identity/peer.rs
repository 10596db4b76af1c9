//! The other end of a connection, as its verified certificate names it.

use std::fmt;

use rustls::pki_types::CertificateDer;
use tonic::{Request, Status};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

const SCHEME: &str = "trireme://";

/// A program of the cluster: what it is and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// What it is: `agent`, `router` and so on.
    pub role: String,
    /// The node it runs on.
    pub node: String,
    /// Which admission of the node to the cluster; empty for the node the cluster began on.
    pub admission: String,
}

/// The caller of a request that came in over [`super::Identity::server_tls`].
pub fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let certificates = request.peer_certs();
    let first = certificates.as_deref().and_then(|certificates| certificates.first());
    let certificate =
        first.ok_or_else(|| Status::unauthenticated("a client certificate is required"))?;
    Peer::from_certificate(certificate)
        .ok_or_else(|| Status::unauthenticated("the client certificate names no role and node"))
}

impl Peer {
    /// Reads the `trireme://<role>/<node>[/<admission>]` name. Only meaningful for a certificate that TLS has verified.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Peer> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        certificate
            .extensions()
            .iter()
            .filter_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => Some(names),
                _ => None,
            })
            .flat_map(|names| &names.general_names)
            .find_map(|name| match name {
                GeneralName::URI(uri) => Peer::from_uri(uri),
                _ => None,
            })
    }

    /// Refuses a caller that has none of these roles.
    pub fn require_role(&self, roles: &[&str]) -> Result<(), Status> {
        if roles.contains(&self.role.as_str()) {
            return Ok(());
        }
        Err(Status::permission_denied(format!("role `{}` may not call this", self.role)))
    }

    /// The name as it stands in a certificate.
    pub(super) fn uri(&self) -> String {
        let name = format!("{SCHEME}{}/{}", self.role, self.node);
        if self.admission.is_empty() { name } else { format!("{name}/{}", self.admission) }
    }

    fn from_uri(uri: &str) -> Option<Peer> {
        let (role, rest) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let (node, admission) = match rest.split_once('/') {
            Some((node, admission)) => (node, Some(admission)),
            None => (rest, None),
        };
        let valid = is_label(role) && is_name(node) && admission.is_none_or(is_label);
        let admission = admission.unwrap_or_default().to_owned();
        valid.then(|| Peer { role: role.to_owned(), node: node.to_owned(), admission })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} on {}", self.role, self.node)
    }
}

/// A DNS label in lowercase: what a role must be.
pub(super) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Labels joined by dots: what a node's name must be.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_a_strange_one_is_not() {
        for admission in ["", "0a1b2c"] {
            let peer = Peer {
                role: "agent".into(),
                node: "node-1.example".into(),
                admission: admission.into(),
            };
            assert_eq!(Peer::from_uri(&peer.uri()), Some(peer));
        }
        for strange in [
            "trireme://agent",
            "trireme:///n",
            "trireme://agent/",
            "http://agent/n",
            "trireme://a/b/",
            "trireme://a/b/c/d",
            "trireme://A/b",
        ] {
            assert_eq!(Peer::from_uri(strange), None, "{strange}");
        }
    }
}
