//! A certificate for a key that is on another machine: the key's holder asks, the authority decides what is proven.

use std::net::IpAddr;

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair};

use super::{
    Authority, AuthorityError, Subject, part_params, server_params, store_params, validity,
};

/// A new key and the proof of holding it.
pub struct KeyRequest {
    /// The private key, PEM.
    pub key_pem: String,
    /// The signing request, PEM. It names nothing: the authority decides.
    pub csr_pem: String,
}

/// What a certificate for a requested key is to prove.
pub enum Wanted<'a> {
    /// A part, of the machine that was admitted under this mark.
    Part(&'a Subject<'a>, &'a str),
    /// A server that users reach; see [`Authority::issue_server`].
    Server(&'a [String], &'a [IpAddr]),
    /// A member of the store at an address, or a client of it.
    Store(IpAddr),
}

impl KeyRequest {
    /// A new key.
    pub fn new() -> Result<KeyRequest, AuthorityError> {
        let failed = |cause| AuthorityError::Certificate { action: "create a key", cause };
        KeyRequest::of(KeyPair::generate().map_err(failed)?)
    }

    /// For a key made earlier.
    pub fn again(key_pem: &str) -> Result<KeyRequest, AuthorityError> {
        let failed = |cause| AuthorityError::Certificate { action: "read a key", cause };
        KeyRequest::of(KeyPair::from_pem(key_pem).map_err(failed)?)
    }

    fn of(key: KeyPair) -> Result<KeyRequest, AuthorityError> {
        let failed = |cause| AuthorityError::Certificate { action: "prove a key", cause };
        let csr = CertificateParams::default().serialize_request(&key).map_err(failed)?;
        Ok(KeyRequest { key_pem: key.serialize_pem(), csr_pem: csr.pem().map_err(failed)? })
    }
}

impl Authority {
    /// Signs a certificate for the key of a request, which must prove that its sender holds the key. PEM.
    pub fn sign(
        &self,
        csr_pem: &str,
        wanted: &Wanted<'_>,
        valid_days: u32,
    ) -> Result<String, AuthorityError> {
        let failed = |cause| AuthorityError::Certificate { action: "sign a request", cause };
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(failed)?;
        let (from, until) = validity(valid_days);
        let params = match wanted {
            Wanted::Part(subject, admission) => part_params(subject, admission, from, until)?,
            Wanted::Server(names, ips) => server_params(names, ips, from, until)?,
            Wanted::Store(ip) => store_params(*ip, from, until),
        };
        let signed = params.signed_by(&request.public_key, &self.issuer).map_err(failed)?;
        Ok(signed.pem())
    }
}
