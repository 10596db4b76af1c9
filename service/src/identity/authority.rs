//! The cluster's own certificate authority: made once, kept in a private folder, signs every part's certificate.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
};

mod request;
pub use request::{KeyRequest, Wanted};

use super::{
    CA_FILE, CERT_FILE, IdentityError, KEY_FILE,
    peer::{Peer, is_label, is_name},
    refuse_open_key, server_name,
};
use crate::durable::{DurableError, PRIVATE, PUBLIC, create_private_dir, write_atomically};

/// The authority's private key; mode 0600.
pub const CA_KEY_FILE: &str = "ca.key";

/// Certificates start to hold this long ago, because the clocks of two nodes differ.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What the members of the store demand of each other's certificates.
pub const STORE_NAME: &str = "trireme store";
const AUTHORITY_DAYS: u32 = 20 * 365;

/// The authority of one cluster. Whoever holds its folder can become any part.
pub struct Authority {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is to prove.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The program's role, a lowercase word such as `agent`.
    pub role: &'a str,
    /// The node it runs on.
    pub node: &'a str,
    /// Further DNS names it serves; none below `trireme.internal`.
    pub dns: Vec<String>,
    /// Addresses it serves.
    pub ips: Vec<IpAddr>,
}

/// A certificate and its key, both PEM.
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key.
    pub key_pem: String,
}

/// Why the authority could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The folder already holds an authority; replacing it would cut off every part.
    #[error("create a certificate authority in `{0}`: there is one already")]
    Exists(PathBuf),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] DurableError),
    /// A file could not be read.
    #[error("open certificate authority: read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The key is open to other users.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// A name cannot stand in a certificate.
    #[error("issue a certificate: {what} `{name}` is not allowed")]
    Name {
        /// Which name.
        what: &'static str,
        /// Its value.
        name: String,
    },
    /// Making or signing failed.
    #[error("{action}")]
    Certificate {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        cause: rcgen::Error,
    },
}

impl Authority {
    /// Makes a new authority and writes `ca.pem` and `ca.key` (0600) into `dir` (0700). Refuses to replace one.
    pub fn create(dir: &Path) -> Result<Authority, AuthorityError> {
        let key_path = dir.join(CA_KEY_FILE);
        if key_path.exists() {
            return Err(AuthorityError::Exists(dir.to_owned()));
        }
        create_private_dir(dir)?;
        let failed =
            |cause| AuthorityError::Certificate { action: "create certificate authority", cause };
        let key = KeyPair::generate().map_err(failed)?;
        let params = authority_params();
        let ca_pem = params.self_signed(&key).map_err(failed)?.pem();
        // The key last: a folder with a key is a complete authority.
        write_atomically(&dir.join(CA_FILE), ca_pem.as_bytes(), PUBLIC)?;
        write_atomically(&key_path, key.serialize_pem().as_bytes(), PRIVATE)?;
        Ok(Authority { ca_pem, issuer: Issuer::new(params, key) })
    }

    /// Opens the authority that [`Authority::create`] wrote; refuses a key that others may read.
    pub fn open(dir: &Path) -> Result<Authority, AuthorityError> {
        let key_path = dir.join(CA_KEY_FILE);
        let ca_pem = read(&dir.join(CA_FILE))?;
        let key_pem = read(&key_path)?;
        refuse_open_key(&key_path)?;
        Authority::from_pem(&ca_pem, &key_pem)
    }

    /// The authority's certificate, which every part trusts.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Signs a certificate for a new key, good as server and as client, for `valid_days` from now.
    pub fn issue(&self, subject: &Subject<'_>, valid_days: u32) -> Result<Issued, AuthorityError> {
        let (from, until) = validity(valid_days);
        self.issue_between(subject, from, until)
    }

    /// The same, with the mark of one admission of the node.
    pub fn issue_admitted(
        &self,
        subject: &Subject<'_>,
        admission: &str,
        valid_days: u32,
    ) -> Result<Issued, AuthorityError> {
        let (from, until) = validity(valid_days);
        self.issue_new_key(&part_params(subject, admission, from, until)?)
    }

    /// The authority of these PEM texts.
    pub fn from_pem(ca_pem: &str, key_pem: &str) -> Result<Authority, AuthorityError> {
        let failed =
            |cause| AuthorityError::Certificate { action: "open certificate authority", cause };
        let key = KeyPair::from_pem(key_pem).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(ca_pem, key).map_err(failed)?;
        Ok(Authority { ca_pem: ca_pem.to_owned(), issuer })
    }

    /// The private key, PEM. Whoever has it can become any part.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub(super) fn issue_between(
        &self,
        subject: &Subject<'_>,
        from: SystemTime,
        until: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        let params = part_params(subject, "", from, until)?;
        self.issue_new_key(&params)
    }

    /// Signs a certificate for a server that users reach: it proves names (one may start with `*.`) and addresses,
    /// but no role, so no part takes its holder for a peer.
    pub fn issue_server(
        &self,
        names: &[String],
        ips: &[IpAddr],
        valid_days: u32,
    ) -> Result<Issued, AuthorityError> {
        let (from, until) = validity(valid_days);
        self.issue_new_key(&server_params(names, ips, from, until)?)
    }

    /// Signs a certificate for a member of the store, or for a client of it; see [`Wanted::Store`].
    pub fn issue_store(&self, ip: IpAddr, valid_days: u32) -> Result<Issued, AuthorityError> {
        let (from, until) = validity(valid_days);
        self.issue_new_key(&store_params(ip, from, until))
    }

    fn issue_new_key(&self, params: &CertificateParams) -> Result<Issued, AuthorityError> {
        let failed = |cause| AuthorityError::Certificate { action: "issue certificate", cause };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl Issued {
    /// Writes `ca.pem`, `cert.pem` and `key.pem` (0600) into `dir` (0700), as [`super::Identity::load`] reads them.
    pub fn write(&self, dir: &Path, ca_pem: &str) -> Result<(), DurableError> {
        create_private_dir(dir)?;
        write_atomically(&dir.join(CA_FILE), ca_pem.as_bytes(), PUBLIC)?;
        write_atomically(&dir.join(KEY_FILE), self.key_pem.as_bytes(), PRIVATE)?;
        write_atomically(&dir.join(CERT_FILE), self.cert_pem.as_bytes(), PUBLIC)
    }
}

fn authority_params() -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + DAY * AUTHORITY_DAYS).into();
    params.distinguished_name = named("Trireme cluster authority");
    // It signs leaves only: no authority below it.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn validity(days: u32) -> (SystemTime, SystemTime) {
    let now = SystemTime::now();
    (now - CLOCK_SKEW, now + DAY * days)
}

/// A leaf that is good as server and as client.
fn leaf(name: &str, from: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = from.into();
    params.not_after = until.into();
    params.distinguished_name = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn part_params(
    subject: &Subject<'_>,
    admission: &str,
    from: SystemTime,
    until: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = leaf(&format!("{} on {}", subject.role, subject.node), from, until);
    params.subject_alt_names = alternative_names(subject, admission)?;
    Ok(params)
}

fn server_params(
    names: &[String],
    ips: &[IpAddr],
    from: SystemTime,
    until: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = leaf("Trireme server", from, until);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in names {
        let refused = || AuthorityError::Name { what: "DNS name", name: name.clone() };
        if !is_public_name(name.strip_prefix("*.").unwrap_or(name)) {
            return Err(refused());
        }
        let name = Ia5String::try_from(name.as_str()).map_err(|_| refused())?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.subject_alt_names.extend(ips.iter().copied().map(SanType::IpAddress));
    Ok(params)
}

fn store_params(ip: IpAddr, from: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = leaf(STORE_NAME, from, until);
    params.subject_alt_names = vec![SanType::IpAddress(ip)];
    params
}

fn alternative_names(
    subject: &Subject<'_>,
    admission: &str,
) -> Result<Vec<SanType>, AuthorityError> {
    let refused = |what, name: &str| AuthorityError::Name { what, name: name.to_owned() };
    if !is_label(subject.role) {
        return Err(refused("role", subject.role));
    }
    if !is_name(subject.node) {
        return Err(refused("node", subject.node));
    }
    if !admission.is_empty() && !is_label(admission) {
        return Err(refused("admission", admission));
    }
    let ia5 =
        |what, name: String| Ia5String::try_from(name.as_str()).map_err(|_| refused(what, &name));
    let peer = Peer {
        role: subject.role.to_owned(),
        node: subject.node.to_owned(),
        admission: admission.to_owned(),
    };
    let mut names = vec![
        SanType::URI(ia5("name", peer.uri())?),
        SanType::DnsName(ia5("role", server_name(subject.role))?),
    ];
    for dns in &subject.dns {
        if !is_public_name(dns) {
            return Err(refused("DNS name", dns));
        }
        names.push(SanType::DnsName(ia5("DNS name", dns.clone())?));
    }
    names.extend(subject.ips.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

/// Clients tell a server's role by its name below `trireme.internal`; one given freely would let a part pose as another.
fn is_public_name(name: &str) -> bool {
    is_name(name) && name != "trireme.internal" && !name.ends_with(".trireme.internal")
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|cause| AuthorityError::Read { path: path.to_owned(), cause })
}
