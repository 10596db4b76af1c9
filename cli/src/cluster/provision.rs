//! Makes what a cluster needs before its programs can start: folders, authority, identities, certificates, keys, settings.
//!
//! Everything is made once and kept; a certificate is made again when its names change or its end is near.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use rand::Rng;
use service::{
    Authority, Subject,
    durable::{
        DurableError, PRIVATE, PUBLIC, create_private_dir, read_json, write_atomically, write_json,
    },
    identity::{AuthorityError, CA_FILE, CERT_FILE, KEY_FILE, host_key_seed},
};

use super::{
    certificate::{Certificate, is_key_of},
    choices::{self, Choices},
    etcd,
    layout::{ETCD, Layout, PROGRAMS, Program},
    settings_file,
    supervisor::{self, Command},
};

/// Browsers accept no certificate that holds longer.
const SERVER_DAYS: u32 = 397;
/// How long certificates of parts hold.
pub const IDENTITY_DAYS: u32 = 825;
/// A certificate that ends sooner is replaced, by the supervisor or at the next `up`.
pub const RENEW_DAYS: i64 = 60;

/// Why a cluster could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A file could not be written or read.
    #[error(transparent)]
    File(#[from] DurableError),
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// This node has none of its certificates.
    #[error("read the certificates this node got when it joined")]
    Joined(#[source] io::Error),
    /// The folder for the authority's certificate could not be made.
    #[error("create folder `{path}`")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// The choices made at an earlier `up`, if there was one.
pub fn saved_choices(layout: &Layout) -> Result<Option<Choices>, DurableError> {
    // What is no folder holds no cluster; what else it is, the look before an `up` tells.
    if !layout.data.is_dir() {
        return Ok(None);
    }
    read_json(&layout.choices(), choices::VERSION)
}

/// Makes everything that is not there yet; safe to repeat, also after a cut at any moment.
pub fn provision(
    layout: &Layout,
    choices: &Choices,
    programs: &Path,
) -> Result<(), ProvisionError> {
    create_private_dir(&layout.data)?;
    for folder in [layout.run(), layout.logs(), layout.data.join("router"), layout.platform()] {
        create_private_dir(&folder)?;
    }
    // First, so that an interrupted `up` is known as a cluster that `down --wipe` may remove.
    write_json(&layout.choices(), choices::VERSION, choices, PRIVATE)?;
    for program in choices.programs() {
        create_private_dir(&layout.program(program.name))?;
    }
    match &choices.several {
        // Made by `join`: only a controller can sign.
        Some(several) if !several.began_here => {
            let ca_pem = fs::read_to_string(layout.identity("agent").join(CA_FILE));
            publish_authority(choices, &ca_pem.map_err(ProvisionError::Joined)?)?;
        }
        several => {
            certificates(layout, choices, Which::Due)?;
            if several.is_some() {
                create_private_dir(&etcd::data(layout))?;
            }
            seal_key(layout)?;
            let authority = open_or_create(&layout.authority())?;
            publish_authority(choices, authority.ca_pem())?;
        }
    }
    // Where there is a builder, there is a controller.
    if let Ok(seal_key) = fs::read(layout.seal_key()) {
        write_atomically(&layout.host_key_seed(), &host_key_seed(&seal_key), PRIVATE)?;
    }
    let settings = settings_file::content(layout, choices);
    write_atomically(&layout.settings(), settings.as_bytes(), PRIVATE)?;
    supervisor::write_table(layout, &table(layout, choices, programs))?;
    Ok(())
}

/// Which certificates are made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that are missing, end soon, or lack a name.
    Due,
    /// All.
    All,
}

/// Makes the certificates of a node that has the authorities' keys.
pub fn certificates(
    layout: &Layout,
    choices: &Choices,
    which: Which,
) -> Result<(), ProvisionError> {
    let authority = open_or_create(&layout.authority())?;
    for program in PROGRAMS {
        identity(layout, choices, &authority, (program.name, which))?;
    }
    api_certificate(layout, choices, &authority, which)?;
    platform_certificate(layout, choices, &authority, which)?;
    match &choices.several {
        Some(several) => etcd::certificates(layout, several, which),
        None => Ok(()),
    }
}

/// The commands of all programs, in the order of their start.
pub fn table(layout: &Layout, choices: &Choices, programs: &Path) -> Vec<Command> {
    let arguments = vec!["--config".to_owned(), layout.settings().to_string_lossy().into_owned()];
    let command = |program: Program| match &choices.several {
        Some(several) if program == ETCD => etcd::command(layout, choices, several),
        _ => Command {
            name: program.name.to_owned(),
            path: programs.join(program.binary()),
            arguments: arguments.clone(),
        },
    };
    choices.programs().into_iter().map(command).collect()
}

/// Opens an authority, making it first where there is none.
pub fn open_or_create(folder: &Path) -> Result<Authority, AuthorityError> {
    match Authority::create(folder) {
        Err(AuthorityError::Exists(_)) => Authority::open(folder),
        created => created,
    }
}

fn identity(
    layout: &Layout,
    choices: &Choices,
    authority: &Authority,
    (role, which): (&str, Which),
) -> Result<(), ProvisionError> {
    let folder = layout.identity(role);
    let mut ips: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    ips.extend(choices.several.as_ref().map(|several| several.address));
    let subject = Subject { role, node: &choices.node, dns: vec!["localhost".to_owned()], ips };
    let names = Names { dns: &subject.dns, ips: &subject.ips };
    if which.takes(&folder.join(CERT_FILE), &folder.join(KEY_FILE), names) {
        let issued = authority.issue_admitted(&subject, &choices.admission, IDENTITY_DAYS)?;
        issued.write(&folder, authority.ca_pem())?;
    }
    Ok(())
}

/// What users of the API see.
fn api_certificate(
    layout: &Layout,
    choices: &Choices,
    authority: &Authority,
    which: Which,
) -> Result<(), ProvisionError> {
    let folder = layout.identity("api");
    let host = host_name().to_lowercase();
    let mut names = vec![format!("deis.{}", choices.domain), "localhost".to_owned()];
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if host.bytes().all(is_plain) && !host.is_empty() && !names.contains(&host) {
        names.push(host);
    }
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if !choices.bind.is_unspecified() && !addresses.contains(&choices.bind) {
        addresses.push(choices.bind);
    }
    addresses.extend(choices.several.as_ref().map(|several| several.address));
    let wanted = Names { dns: &names, ips: &addresses };
    if !which.takes(&folder.join(CERT_FILE), &folder.join(KEY_FILE), wanted) {
        return Ok(());
    }
    let mut issued = authority.issue_server(&names, &addresses, SERVER_DAYS)?;
    // Machines that join know the authority by its fingerprint only, so it is shown to them.
    issued.cert_pem.push_str(authority.ca_pem());
    issued.write(&folder, authority.ca_pem())?;
    Ok(())
}

/// What visitors of apps see where an app has no certificate of its own.
fn platform_certificate(
    layout: &Layout,
    choices: &Choices,
    authority: &Authority,
    which: Which,
) -> Result<(), ProvisionError> {
    let (chain, key) = (layout.platform().join("chain.pem"), layout.platform().join("key.pem"));
    let names = [choices.domain.clone(), format!("*.{}", choices.domain)];
    if !which.takes(&chain, &key, Names { dns: &names, ips: &[] }) {
        return Ok(());
    }
    let issued = authority.issue_server(&names, &[], SERVER_DAYS)?;
    write_atomically(&key, issued.key_pem.as_bytes(), PRIVATE)?;
    write_atomically(&chain, issued.cert_pem.as_bytes(), PUBLIC)?;
    Ok(())
}

/// What a certificate has to prove.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    /// DNS names.
    pub dns: &'a [String],
    /// Addresses.
    pub ips: &'a [IpAddr],
}

impl Which {
    /// Whether this certificate is among them.
    pub fn takes(self, certificate: &Path, key: &Path, names: Names<'_>) -> bool {
        self == Which::All || !is_good(certificate, key, names)
    }
}

/// Whether a certificate and its key are there, hold long enough and prove these names.
fn is_good(certificate: &Path, key: &Path, names: Names<'_>) -> bool {
    let has_key = is_key_of(key, certificate);
    let certificate = Certificate::read(certificate).ok();
    certificate.is_some_and(|certificate| {
        has_key
            && certificate.days_left() >= RENEW_DAYS
            && names.dns.iter().all(|name| certificate.names.contains(name))
            && names.ips.iter().all(|address| certificate.addresses.contains(address))
    })
}

/// 32 random bytes under which the controller seals secrets. Never replaced: what it sealed would be lost.
fn seal_key(layout: &Layout) -> Result<(), DurableError> {
    let path = layout.seal_key();
    if path.exists() {
        return Ok(());
    }
    let mut key = [0_u8; 32];
    rand::rng().fill_bytes(&mut key);
    write_atomically(&path, &key, PRIVATE)
}

fn publish_authority(choices: &Choices, ca_pem: &str) -> Result<(), ProvisionError> {
    let path = &choices.ca_out;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|cause| ProvisionError::Folder { path: folder.to_owned(), cause })?;
    }
    Ok(write_atomically(path, ca_pem.as_bytes(), PUBLIC)?)
}

/// This machine's name.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{choices::Wishes, several::Several};
    use super::*;

    fn provisioned() -> (tempfile::TempDir, Layout, Choices) {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("data"));
        let wishes = Wishes { ca_out: Some(folder.path().join("ca.pem")), ..Wishes::default() };
        let choices = Choices::new(&layout, "n1").with(&wishes);
        provision(&layout, &choices, Path::new("/opt/trireme")).unwrap();
        (folder, layout, choices)
    }

    fn all_files(folder: &Path) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let inside = |path: std::path::PathBuf| {
            if path.is_dir() { all_files(&path) } else { vec![path] }
        };
        entries.flat_map(inside).collect()
    }

    fn contents(layout: &Layout) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
        let files = all_files(&layout.data).into_iter();
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn everything_secret_is_private_and_the_authority_is_readable_by_all() {
        let (_folder, layout, choices) = provisioned();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for path in all_files(&layout.data) {
            let is_certificate = path.ends_with("ca.pem")
                || path.ends_with("cert.pem")
                || path.ends_with("chain.pem");
            assert_eq!(mode(&path), if is_certificate { PUBLIC } else { PRIVATE }, "{path:?}");
        }
        assert_eq!((mode(&layout.data), mode(&choices.ca_out)), (0o700, 0o644));
        assert_eq!(fs::read(layout.seal_key()).unwrap().len(), 32);
        for program in PROGRAMS {
            let identity = service::Identity::load(&layout.identity(program.name)).unwrap();
            assert_eq!(identity.own().to_string(), format!("{} on n1", program.name));
        }
        let platform = Certificate::read(&layout.platform().join("chain.pem")).unwrap();
        assert_eq!(platform.names, ["apps.localhost", "*.apps.localhost"]);
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let (_folder, layout, choices) = provisioned();
        let before = contents(&layout);
        provision(&layout, &choices, Path::new("/opt/trireme")).unwrap();
        assert_eq!(contents(&layout), before);
        assert_eq!(saved_choices(&layout).unwrap(), Some(choices));
    }

    #[test]
    fn a_new_address_of_the_node_gets_into_its_certificates_and_no_other_file_changes() {
        let (_folder, layout, choices) = provisioned();
        let address: IpAddr = "10.77.0.11".parse().unwrap();
        let several = Several::first("trireme", address, "n1", choices.ports.base);
        let several = Choices { several: Some(several), ..choices };
        certificates(&layout, &several, Which::Due).unwrap();
        let before = contents(&layout);
        for name in ["api", "agent", "controller"] {
            let certificate = Certificate::read(&layout.identity(name).join(CERT_FILE)).unwrap();
            assert!(certificate.addresses.contains(&address), "{name}: {certificate:?}");
        }
        certificates(&layout, &several, Which::Due).unwrap();
        assert_eq!(contents(&layout), before, "they are good now");
    }

    #[test]
    fn another_domain_gets_other_certificates_and_keeps_the_keys_of_the_cluster() {
        let (_folder, layout, choices) = provisioned();
        let before = contents(&layout);
        let moved = Choices { domain: "example.org".to_owned(), ..choices };
        provision(&layout, &moved, Path::new("/opt/trireme")).unwrap();
        let after = contents(&layout);
        let api = layout.identity("api").join(CERT_FILE);
        assert_ne!(before[&api], after[&api]);
        for kept in [layout.seal_key(), layout.authority().join("ca.key")] {
            assert_eq!(before[&kept], after[&kept]);
        }
        let names = Certificate::read(&api).unwrap().names;
        assert!(names.contains(&"deis.example.org".to_owned()), "{names:?}");
    }
}
