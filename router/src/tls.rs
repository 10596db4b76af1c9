//! Certificates by the name a client asks for: an app's own, else the platform's. Changing them touches no open connection.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use model::route::RouteCertificate;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, Ticketer},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::host::{self, HostMap};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It is not PEM.
    #[error("parse PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// No certificate in it.
    #[error("parse PEM: it holds no certificate")]
    Empty,
    /// The key is of no known kind, or not the certificate's.
    #[error("use the private key")]
    Key(#[source] rustls::Error),
    /// Making a self-signed one failed.
    #[error("make a self-signed certificate")]
    SelfSigned(#[source] rcgen::Error),
    /// The TLS library refused its settings.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
}

/// All certificates; a cheap handle.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    by_host: ArcSwap<HostMap<Arc<CertifiedKey>>>,
    platform: ArcSwap<CertifiedKey>,
    /// What was parsed before, so that an unchanged certificate is not parsed again.
    known: Mutex<Vec<Known>>,
}

struct Known {
    row: RouteCertificate,
    key: Arc<CertifiedKey>,
    ends: i64,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Known({:?})", self.row.hosts)
    }
}

impl Certificates {
    /// Only the platform's.
    pub fn new(platform: CertifiedKey) -> Certificates {
        Certificates(Arc::new(Shared {
            by_host: ArcSwap::default(),
            platform: ArcSwap::from_pointee(platform),
            known: Mutex::default(),
        }))
    }

    /// Replaces the platform's.
    pub fn set_platform(&self, platform: CertifiedKey) {
        self.0.platform.store(Arc::new(platform));
    }

    /// Puts the apps' certificates in force. One that cannot be used is told and left out. Of several for one name the
    /// one that is valid longest serves.
    pub fn apply(&self, rows: &[RouteCertificate]) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut usable: Vec<Known> = rows.iter().filter_map(|row| parsed(row, &known)).collect();
        usable.sort_by_key(|known| std::cmp::Reverse(known.ends));
        let mut by_host = HostMap::default();
        for certificate in &usable {
            for host in &certificate.row.hosts {
                by_host.insert(host, certificate.key.clone());
            }
        }
        self.0.by_host.store(Arc::new(by_host));
        *known = usable;
    }

    /// The settings of the HTTPS listener: HTTP/2 and HTTP/1.1, sessions resumed by tickets.
    pub fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        service::install_crypto();
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(CertificateError::Tls)?;
        Ok(config)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let by_host = self.0.by_host.load();
        let own = hello.server_name().and_then(|name| by_host.get(&host::lower(name)).cloned());
        Some(own.unwrap_or_else(|| self.0.platform.load_full()))
    }
}

fn parsed(row: &RouteCertificate, known: &[Known]) -> Option<Known> {
    if let Some(same) = known.iter().find(|known| known.row == *row) {
        return Some(Known { row: row.clone(), key: same.key.clone(), ends: same.ends });
    }
    match certified(row.chain_pem.as_bytes(), row.key_pem.as_bytes()) {
        Ok(key) => Some(Known { row: row.clone(), ends: ends(&key), key: Arc::new(key) }),
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::warn!(hosts = ?row.hosts, error = format!("{error:#}"), "a certificate cannot be used");
            None
        }
    }
}

/// A chain and key from PEM. The key must be the leaf's.
pub fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, CertificateError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(CertificateError::Pem)?;
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::Pem)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(CertificateError::Key)
}

/// The platform's certificate from its files.
pub fn platform(chain: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let read = |path: &Path| {
        fs::read(path)
            .map_err(|cause| CertificateError::Read { path: path.display().to_string(), cause })
    };
    certified(&read(chain)?, &read(key)?)
}

/// A self-signed certificate for `*.<domain>` and the domain itself, kept nowhere.
pub fn self_signed(domain: &str) -> Result<CertifiedKey, CertificateError> {
    let names = vec![format!("*.{domain}"), domain.to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(CertificateError::SelfSigned)?;
    certified(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
}

/// When a certificate ends, in seconds since 1970; 0 if that cannot be read.
fn ends(key: &CertifiedKey) -> i64 {
    let leaf = key.cert.first().and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok());
    leaf.map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp())
}

/// When the platform's files were last changed; none while one is missing.
pub fn changed(chain: &Path, key: &Path) -> Option<Duration> {
    let of = |path: &Path| fs::metadata(path).ok()?.modified().ok();
    let last = of(chain)?.max(of(key)?);
    last.duration_since(std::time::UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hosts: &[&str], end_year: i32) -> RouteCertificate {
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(end_year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        RouteCertificate {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    fn served(certificates: &Certificates, host: &str) -> i64 {
        let by_host = certificates.0.by_host.load();
        by_host.get(host).map_or(0, |key| ends(key))
    }

    #[test]
    fn of_two_certificates_the_one_that_is_valid_longer_serves() {
        let certificates = Certificates::new(self_signed("apps.localhost").unwrap());
        let (short, long) = (row(&["a.example.com"], 2030), row(&["a.example.com"], 2040));
        for rows in [[short.clone(), long.clone()], [long.clone(), short.clone()]] {
            certificates.apply(&rows);
            assert_eq!(served(&certificates, "a.example.com"), 2_208_988_800, "2040-01-01");
        }
        certificates.apply(&[short]);
        assert_eq!(served(&certificates, "a.example.com"), 1_893_456_000, "2030-01-01");
    }

    #[test]
    fn one_bad_certificate_does_not_hold_back_the_others() {
        let certificates = Certificates::new(self_signed("apps.localhost").unwrap());
        let good = row(&["good.example.com"], 2030);
        let other = row(&["other.example.com"], 2030);
        let mixed_up = RouteCertificate { key_pem: good.key_pem.clone(), ..other };
        let torn = RouteCertificate {
            chain_pem: "-----BEGIN".to_owned(),
            ..row(&["torn.example.com"], 2030)
        };
        certificates.apply(&[mixed_up, torn, good]);
        let hosts = ["good.example.com", "other.example.com", "torn.example.com"];
        assert_eq!(hosts.map(|host| served(&certificates, host) > 0), [true, false, false]);
    }
}
