//! Who a program is, proven by a certificate of the cluster's own authority: mutual TLS on every connection between parts.
//!
//! A certificate names a role, a node and which admission of the node as the URI `trireme://<role>/<node>[/<admission>]`. Clients check the server's role through the
//! DNS name `<role>.trireme.internal`; servers demand a client certificate and read the caller's role from its URI.

mod authority;
mod operator;
mod peer;

pub use authority::{
    Authority, AuthorityError, CA_KEY_FILE, Issued, KeyRequest, STORE_NAME, Subject, Wanted,
};
pub use operator::operator_token;
pub use peer::{Peer, peer};

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, ServerTlsConfig};

/// The authority's certificate, in an identity's folder and in the authority's.
pub const CA_FILE: &str = "ca.pem";
/// The program's certificate.
pub const CERT_FILE: &str = "cert.pem";
/// The program's private key; mode 0600.
pub const KEY_FILE: &str = "key.pem";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A silent peer is pinged after this long, and given as long again to answer.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// A program's certificate, its key, and the authority it trusts. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Material>);

struct Material {
    ca_pem: String,
    cert_pem: String,
    key_pem: String,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    own: Peer,
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file of the identity could not be read.
    #[error("read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The private key is open to other users of the machine.
    #[error("use private key `{path}`: its mode is {mode:o}, others may read it; set it to 600")]
    OpenToOthers {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file holds no usable PEM.
    #[error("parse `{path}`: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The parts do not make a TLS configuration.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// An address is not `host:port`.
    #[error("connect to `{address}`")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        #[source]
        cause: tonic::transport::Error,
    },
}

/// The DNS name under which servers of a role are verified.
pub fn server_name(role: &str) -> String {
    format!("{role}.trireme.internal")
}

impl Identity {
    /// Reads `ca.pem`, `cert.pem` and `key.pem`; refuses a key that others may read.
    pub fn load(dir: &Path) -> Result<Identity, IdentityError> {
        let key_path = dir.join(KEY_FILE);
        refuse_open_key(&key_path)?;
        Identity::from_pem(
            dir,
            read(&dir.join(CA_FILE))?,
            read(&dir.join(CERT_FILE))?,
            read(&key_path)?,
        )
    }

    fn from_pem(
        dir: &Path,
        ca_pem: String,
        cert_pem: String,
        key_pem: String,
    ) -> Result<Identity, IdentityError> {
        crate::install_crypto();
        let malformed = |file: &str, problem: String| IdentityError::Malformed {
            path: dir.join(file),
            problem,
        };
        let mut roots = RootCertStore::empty();
        for root in certificates(&ca_pem).map_err(|problem| malformed(CA_FILE, problem))? {
            roots.add(root).map_err(|error| malformed(CA_FILE, error.to_string()))?;
        }
        let chain = certificates(&cert_pem).map_err(|problem| malformed(CERT_FILE, problem))?;
        let own = Peer::from_certificate(&chain[0])
            .ok_or_else(|| malformed(CERT_FILE, "it names no role and node".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| malformed(KEY_FILE, error.to_string()))?;
        Ok(Identity(Arc::new(Material {
            ca_pem,
            cert_pem,
            key_pem,
            roots: Arc::new(roots),
            chain,
            key,
            own,
        })))
    }

    /// The role and node this identity proves.
    pub fn own(&self) -> &Peer {
        &self.0.own
    }

    /// For tonic servers: only clients with a certificate of the same authority get in.
    pub fn server_tls(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.tonic_identity())
            .client_ca_root(Certificate::from_pem(&self.0.ca_pem))
            .client_auth_optional(false)
            .timeout(CONNECT_TIMEOUT)
    }

    /// For tonic clients of a server that has `server_role`.
    pub fn client_tls(&self, server_role: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.tonic_identity())
            .ca_certificate(Certificate::from_pem(&self.0.ca_pem))
            .domain_name(server_name(server_role))
    }

    /// For hyper servers: as [`Identity::server_tls`], offering HTTP/2 and HTTP/1.1.
    pub fn rustls_server_config(&self) -> Result<ServerConfig, IdentityError> {
        let verifier = WebPkiClientVerifier::builder(self.0.roots.clone())
            .build()
            .expect("an identity has at least one root certificate");
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.0.chain.clone(), self.0.key.clone_key())
            .map_err(IdentityError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// For hyper clients: connect with [`Identity::rustls_server_name`] so that the server's role is checked.
    /// No ALPN protocol is set: the caller knows which it speaks.
    pub fn rustls_client_config(&self) -> Result<ClientConfig, IdentityError> {
        ClientConfig::builder()
            .with_root_certificates(self.0.roots.clone())
            .with_client_auth_cert(self.0.chain.clone(), self.0.key.clone_key())
            .map_err(IdentityError::Tls)
    }

    /// The name to verify when connecting to a server of a role with [`Identity::rustls_client_config`].
    pub fn rustls_server_name(server_role: &str) -> ServerName<'static> {
        ServerName::try_from(server_name(server_role))
            .expect("roles are lowercase words, valid in DNS names")
    }

    fn tonic_identity(&self) -> tonic::transport::Identity {
        tonic::transport::Identity::from_pem(&self.0.cert_pem, &self.0.key_pem)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Identity({})", self.0.own)
    }
}

/// A channel to a server of `server_role` at `address` (`host:port`). It connects on first use, gives up on a connect
/// after 3 s and pings an idle connection every 2 s, so that a dead peer is noticed within 4 s. Needs a running tokio.
pub fn channel(
    identity: &Identity,
    address: &str,
    server_role: &str,
) -> Result<Channel, IdentityError> {
    let failed = |cause| IdentityError::Address { address: address.to_owned(), cause };
    let endpoint = Endpoint::from_shared(format!("https://{address}"))
        .map_err(failed)?
        .tls_config(identity.client_tls(server_role))
        .map_err(failed)?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|cause| IdentityError::Read { path: path.to_owned(), cause })
}

fn refuse_open_key(path: &Path) -> Result<(), IdentityError> {
    let metadata =
        fs::metadata(path).map_err(|cause| IdentityError::Read { path: path.to_owned(), cause })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::OpenToOthers { path: path.to_owned(), mode });
    }
    Ok(())
}

/// All certificates of a PEM text; at least one.
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if all.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(all) }
}

#[cfg(test)]
mod tests;
