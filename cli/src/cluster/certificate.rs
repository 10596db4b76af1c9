//! What an operator wants to know of a certificate: which names it proves and how long it holds.

use std::{fs, net::IpAddr, path::Path};

use jiff::Timestamp;
use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, pem::parse_x509_pem};

/// A certificate's names and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its DNS names.
    pub names: Vec<String>,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
    /// From when it holds.
    pub starts: Timestamp,
    /// Until when.
    pub ends: Timestamp,
}

/// Why a certificate cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("read `{path}`: {cause}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It is none.
    #[error("read `{path}`: it holds no certificate")]
    Malformed {
        /// The file.
        path: std::path::PathBuf,
    },
}

impl Certificate {
    /// The first certificate of a file.
    pub fn read(path: &Path) -> Result<Certificate, CertificateError> {
        let bytes = fs::read(path)
            .map_err(|cause| CertificateError::Read { path: path.to_owned(), cause })?;
        Certificate::parse(&bytes)
            .ok_or_else(|| CertificateError::Malformed { path: path.to_owned() })
    }

    fn parse(pem: &[u8]) -> Option<Certificate> {
        let (_, pem) = parse_x509_pem(pem).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let alternatives = certificate.subject_alternative_name().ok()?;
        let general = alternatives.into_iter().flat_map(|names| &names.value.general_names);
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for name in general {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
                _ => {}
            }
        }
        Some(Certificate {
            names,
            addresses,
            starts: Timestamp::from_second(certificate.validity().not_before.timestamp()).ok()?,
            ends: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
        })
    }

    /// Whole days until it ends; negative when it has.
    pub fn days_left(&self) -> i64 {
        (self.ends.as_second() - Timestamp::now().as_second()).div_euclid(24 * 3600)
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// Whether a key's file holds the key of a certificate's.
pub fn is_key_of(key: &Path, certificate: &Path) -> bool {
    let read = || {
        let chain = CertificateDer::pem_file_iter(certificate).ok()?;
        let chain = chain.collect::<Result<Vec<_>, _>>().ok()?;
        let key = PrivateKeyDer::from_pem_file(key).ok()?;
        CertifiedKey::from_der(chain, key, CryptoProvider::get_default()?).ok()
    };
    read().is_some()
}
