//! The member of etcd that runs beside a controller: Debian's program with its own folder, ports and certificates.

use std::path::{Path, PathBuf};

use service::identity::{CA_FILE, CERT_FILE, KEY_FILE, STORE_NAME};

use super::{
    choices::Choices,
    layout::{ETCD, Layout},
    logs,
    provision::{IDENTITY_DAYS, Names, ProvisionError, Which, open_or_create},
    several::Several,
    supervisor::Command,
    up::data_flag,
};

/// Where Debian's package puts it.
const PATHS: [&str; 2] = ["/usr/bin/etcd", "/usr/local/bin/etcd"];

/// Its ends tell of everything that is closed, in many lines.
const SAID_LINES: usize = 1000;

/// Its program, if it is installed.
pub fn binary() -> Option<PathBuf> {
    PATHS.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// What keeps a member from running here.
pub fn problem() -> Option<String> {
    binary().is_none().then(|| {
        "etcd, which keeps the cluster's memory, is not installed. Install it with `apt-get install etcd-server`, or join with --no-control.".to_owned()
    })
}

/// Makes the authorities and certificates of the first member.
pub fn certificates(
    layout: &Layout,
    several: &Several,
    which: Which,
) -> Result<(), ProvisionError> {
    for side in [Side::Peer, Side::Client] {
        let authority = open_or_create(&side.authority(layout))?;
        let folder = side.folder(layout);
        let names = Names { ips: &[several.address], ..Names::default() };
        if which.takes(&folder.join(CERT_FILE), &folder.join(KEY_FILE), names) {
            let issued = authority.issue_store(several.address, IDENTITY_DAYS)?;
            issued.write(&folder, authority.ca_pem())?;
        }
    }
    Ok(())
}

/// Which of the member's two doors.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    /// For other members.
    Peer,
    /// For the controllers.
    Client,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Peer => "peer",
            Side::Client => "client",
        }
    }

    /// The authority; on the node the cluster began on.
    pub fn authority(self, layout: &Layout) -> PathBuf {
        layout.program(ETCD.name).join(format!("{}-ca", self.name()))
    }

    /// Certificate, key, and the authority's certificate.
    pub fn folder(self, layout: &Layout) -> PathBuf {
        layout.program(ETCD.name).join(self.name())
    }

    /// What the joining machine calls its request for the certificate.
    pub fn request(self) -> String {
        format!("store-{}", self.name())
    }
}

/// The member's own folder.
pub fn data(layout: &Layout) -> PathBuf {
    layout.program(ETCD.name).join("data")
}

/// How the supervisor runs it.
pub fn command(layout: &Layout, choices: &Choices, several: &Several) -> Command {
    let base = choices.ports.base;
    let (peer_url, client_url) = (several.peer_url(base), several.client_url(base));
    let state = if several.began_here { "new" } else { "existing" };
    let file = |side: Side, name: &str| text(&side.folder(layout).join(name));
    let arguments = [
        ("name", choices.node.clone()),
        ("data-dir", text(&data(layout))),
        ("listen-peer-urls", peer_url.clone()),
        ("initial-advertise-peer-urls", peer_url),
        ("listen-client-urls", client_url.clone()),
        ("advertise-client-urls", client_url),
        ("listen-metrics-urls", format!("http://{}", choices.admin(ETCD.admin_offset))),
        // Read at the first start only; afterwards the member knows better.
        ("initial-cluster", several.members.clone()),
        ("initial-cluster-state", state.to_owned()),
        ("initial-cluster-token", several.cluster.clone()),
        ("peer-trusted-ca-file", file(Side::Peer, CA_FILE)),
        ("peer-cert-file", file(Side::Peer, CERT_FILE)),
        ("peer-key-file", file(Side::Peer, KEY_FILE)),
        ("peer-client-cert-auth", "true".to_owned()),
        ("peer-cert-allowed-cn", STORE_NAME.to_owned()),
        ("trusted-ca-file", file(Side::Client, CA_FILE)),
        ("cert-file", file(Side::Client, CERT_FILE)),
        ("key-file", file(Side::Client, KEY_FILE)),
        ("client-cert-auth", "true".to_owned()),
        // A member that was cut off does not disturb the others when it comes back; off by default in 3.4.
        ("pre-vote", "true".to_owned()),
        ("heartbeat-interval", "100".to_owned()),
        ("election-timeout", "1000".to_owned()),
        ("snapshot-count", "10000".to_owned()),
        ("quota-backend-bytes", (2_u64 << 30).to_string()),
        ("auto-compaction-mode", "periodic".to_owned()),
        ("auto-compaction-retention", "30m".to_owned()),
        ("experimental-initial-corrupt-check", "true".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-outputs", "stderr".to_owned()),
    ];
    Command {
        name: ETCD.name.to_owned(),
        path: binary().unwrap_or_else(|| PathBuf::from(PATHS[0])),
        arguments: arguments.iter().map(|(flag, value)| format!("--{flag}={value}")).collect(),
    }
}

/// How a member is made to go on alone, once: it forgets all others.
pub fn forced(command: &Command) -> Command {
    let mut command = command.clone();
    command.arguments.push("--force-new-cluster=true".to_owned());
    command
}

/// What to do where the members of the cluster have let go of the one here, and it says so.
pub fn removal(layout: &Layout, node: &str) -> Option<String> {
    let said = logs::last_lines(layout, ETCD.name, SAID_LINES);
    let is_removed = said.iter().any(|line| line.contains("permanently removed from the cluster"));
    is_removed.then(|| format!(
        "this node was taken out of the cluster, or the cluster was recovered without it, so what is here is of before. `clusterctl down --wipe --confirm {node}{data}`, then on a node of the cluster `clusterctl nodes:replace {node}`, which prints how to join again",
        data = data_flag(layout)
    ))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
