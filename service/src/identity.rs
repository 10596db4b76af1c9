//! Who a program is, proven by a certificate of the cluster's own authority: mutual TLS on every connection between parts.
//!
//! A certificate names a role, a node and which admission of the node as the URI `trireme://<role>/<node>[/<admission>]`. Clients check the server's role through the
//! DNS name `<role>.trireme.internal`; servers demand a client certificate and read the caller's role from its URI.

mod authority;
mod operator;
mod peer;
mod secured;

pub use authority::{
    Authority, AuthorityError, CA_KEY_FILE, Issued, KeyRequest, STORE_NAME, Subject, Wanted,
};
pub use operator::{host_key_seed, operator_token};
pub use peer::{Peer, peer};
pub use secured::{Incoming, channel};

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
use tokio::net::TcpListener;

use crate::fresh::Fresh;

/// The authority's certificate, in an identity's folder and in the authority's.
pub const CA_FILE: &str = "ca.pem";
/// The program's certificate.
pub const CERT_FILE: &str = "cert.pem";
/// The program's private key; mode 0600.
pub const KEY_FILE: &str = "key.pem";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A silent peer is pinged after this long, and given as long again to answer.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// A program's certificate, its key, and the authority it trusts, as its files are now. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Held>);

struct Held {
    own: Peer,
    material: Fresh<Material>,
}

/// What is made of the files.
struct Material {
    own: Peer,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
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
    /// The files became those of another part or node, which takes a restart.
    #[error("take over the identity of `{0}` while running")]
    Another(String),
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
    /// Reads `ca.pem`, `cert.pem` and `key.pem`, and again whenever they change; refuses a key that others may read.
    pub fn load(dir: &Path) -> Result<Identity, IdentityError> {
        let own = Material::read(dir)?.own;
        let files = [CA_FILE, CERT_FILE, KEY_FILE].map(|file| dir.join(file)).to_vec();
        let (dir, same) = (dir.to_owned(), own.clone());
        let material = Fresh::new(format!("identity of {own}"), files, move || {
            let material = Material::read(&dir)?;
            if material.own == same {
                Ok(material)
            } else {
                Err(IdentityError::Another(material.own.to_string()))
            }
        })?;
        Ok(Identity(Arc::new(Held { own, material })))
    }

    /// The role and node this identity proves.
    pub fn own(&self) -> &Peer {
        &self.0.own
    }

    /// The callers of a tonic server: only those with a certificate of the same authority get in.
    pub fn incoming(&self, listener: TcpListener) -> Incoming {
        Incoming::new(listener, self.clone())
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        self.0.material.get().server.clone()
    }

    fn client_config(&self) -> Arc<ClientConfig> {
        self.0.material.get().client.clone()
    }

    /// The name to verify when connecting to a server of a role.
    fn server_name(server_role: &str) -> ServerName<'static> {
        ServerName::try_from(server_name(server_role))
            .expect("roles are lowercase words, valid in DNS names")
    }
}

impl Material {
    fn read(dir: &Path) -> Result<Material, IdentityError> {
        crate::install_crypto();
        let key_path = dir.join(KEY_FILE);
        refuse_open_key(&key_path)?;
        let (ca_pem, cert_pem) = (read(&dir.join(CA_FILE))?, read(&dir.join(CERT_FILE))?);
        let key_pem = read(&key_path)?;
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
        Material::new(own, Arc::new(roots), chain, key).map_err(IdentityError::Tls)
    }

    fn new(
        own: Peer,
        roots: Arc<RootCertStore>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Material, rustls::Error> {
        let verifier = WebPkiClientVerifier::builder(roots.clone())
            .build()
            .expect("an identity has at least one root certificate");
        let mut server = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let mut client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = server.alpn_protocols.clone();
        Ok(Material { own, server: Arc::new(server), client: Arc::new(client) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Identity({})", self.0.own)
    }
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
