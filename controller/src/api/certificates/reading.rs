//! Reads a certificate chain and its key, and refuses what could not serve.

use std::sync::Arc;

use model::name::Hostname;
use model::time::Time;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The longest chain.
const MAX_CHAIN: usize = 10;
/// The longest PEM text of a chain or a key.
const MAX_PEM_BYTES: usize = 64 * 1024;
/// The most names taken from a certificate.
const MAX_HOSTS: usize = 100;

/// What a certificate is good for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) hosts: Vec<Hostname>,
    pub(super) not_after: Time,
}

/// Why a certificate cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("the chain or the key is larger than 64 KiB, or has more than 10 certificates")]
    TooLarge,
    #[error("the chain holds no certificate in PEM form")]
    NoCertificate,
    #[error("the key is not a private key in PEM form")]
    NoKey,
    #[error("a certificate of the chain is damaged")]
    Damaged,
    #[error("the key's algorithm is not supported")]
    KeyAlgorithm,
    #[error("the key does not belong to the first certificate of the chain")]
    KeyMismatch,
    #[error("the certificate has ended")]
    Ended,
    #[error("the certificate names no host")]
    NoHosts,
}

impl CertificateError {
    pub(super) fn hint(self) -> &'static str {
        match self {
            CertificateError::TooLarge | CertificateError::Damaged => {
                "give the leaf first, then the intermediates, nothing else"
            }
            CertificateError::NoCertificate => "it begins with `-----BEGIN CERTIFICATE-----`",
            CertificateError::NoKey => {
                "it begins with `-----BEGIN PRIVATE KEY-----` and has no passphrase"
            }
            CertificateError::KeyAlgorithm => "RSA, ECDSA and Ed25519 keys can serve",
            CertificateError::KeyMismatch => "put the leaf first, and give the key it was made for",
            CertificateError::Ended => "renew it, then add the new one under the same name",
            CertificateError::NoHosts => "it needs DNS names in its subjectAltName",
        }
    }
}

/// Reads chain and key. The chain's trust is the owner's affair; that it can serve is ours.
pub(super) fn read(chain_pem: &str, key_pem: &str, now: Time) -> Result<Read, CertificateError> {
    if chain_pem.len() > MAX_PEM_BYTES || key_pem.len() > MAX_PEM_BYTES {
        return Err(CertificateError::TooLarge);
    }
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CertificateError::NoCertificate)?;
    let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
    if chain.len() > MAX_CHAIN {
        return Err(CertificateError::TooLarge);
    }
    for certificate in &chain {
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::Damaged)?;
    }
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::Damaged)?;
    check_key(&chain, key_pem)?;
    let not_after = u64::try_from(parsed.validity().not_after.timestamp())
        .map_err(|_| CertificateError::Ended)?;
    let not_after = Time(not_after.saturating_mul(1000));
    if not_after <= now {
        return Err(CertificateError::Ended);
    }
    let hosts = hosts(&parsed);
    match hosts.len() {
        0 => Err(CertificateError::NoHosts),
        _ => Ok(Read { hosts, not_after }),
    }
}

fn check_key(chain: &[CertificateDer<'static>], key_pem: &str) -> Result<(), CertificateError> {
    let key =
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| CertificateError::NoKey)?;
    let signing = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| CertificateError::KeyAlgorithm)?;
    CertifiedKey::new(chain.to_vec(), Arc::clone(&signing))
        .keys_match()
        .map_err(|_| CertificateError::KeyMismatch)
}

/// DNS names that can be host names here; others (single labels, odd wildcards) serve nobody.
fn hosts(certificate: &X509Certificate<'_>) -> Vec<Hostname> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.into_iter().flat_map(|names| &names.value.general_names);
    let mut hosts: Vec<Hostname> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(dns) => dns.to_ascii_lowercase().parse().ok(),
            _ => None,
        })
        .take(MAX_HOSTS)
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests;
