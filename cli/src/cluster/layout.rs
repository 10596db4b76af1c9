//! Where everything of a cluster lies below its data folder, and which programs there are.

use std::path::{Path, PathBuf};

/// The data folder where none is named.
pub const DEFAULT_DATA: &str = "/var/lib/trireme";

/// The programs in the order in which they start; they stop in reverse.
pub const PROGRAMS: [Program; 6] = [
    Program { name: "logger", admin_offset: 15 },
    Program { name: "registry-proxy", admin_offset: 13 },
    Program { name: "controller", admin_offset: 10 },
    Program { name: "agent", admin_offset: 11 },
    Program { name: "router", admin_offset: 14 },
    Program { name: "builder", admin_offset: 12 },
];

/// The member of the cluster's memory, on nodes with a controller in a cluster of several nodes; it starts first.
pub const ETCD: Program = Program { name: "etcd", admin_offset: 6 };

/// What the builder runs for every push; it has to lie beside the programs.
pub const HOOK: &str = "trireme-pre-receive";

/// One program of the platform. Its name is also its role, its table in the settings and its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its name without `trireme-`.
    pub name: &'static str,
    /// Its admin endpoint's port, counted from the base port.
    pub admin_offset: u16,
}

impl Program {
    /// Where its admin endpoint says whether it can do its job.
    pub fn health_path(&self) -> &'static str {
        if *self == ETCD { "/health" } else { "/__heartbeat__" }
    }

    /// The name of its file.
    pub fn binary(&self) -> String {
        format!("trireme-{}", self.name)
    }
}

/// The paths of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The data folder.
    pub data: PathBuf,
}

impl Layout {
    /// Of the cluster in this folder.
    pub fn new(data: impl Into<PathBuf>) -> Layout {
        Layout { data: data.into() }
    }

    /// What was chosen at the first `up`.
    pub fn choices(&self) -> PathBuf {
        self.data.join("cluster.json")
    }

    /// The settings file of all programs.
    pub fn settings(&self) -> PathBuf {
        self.data.join("trireme.toml")
    }

    /// The cluster's certificate authority.
    pub fn authority(&self) -> PathBuf {
        self.data.join("ca")
    }

    /// The files of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// The keys of a machine that is about to join.
    pub fn joining(&self) -> PathBuf {
        self.data.join("joining")
    }

    /// The mark of a restore that has not yet put everything in place.
    pub fn restoring(&self) -> PathBuf {
        self.data.join("restoring")
    }

    /// The identity of a program, or `api` for what users of the API see.
    pub fn identity(&self, name: &str) -> PathBuf {
        self.data.join("identity").join(name)
    }

    /// The router's certificate for the platform's domain.
    pub fn platform(&self) -> PathBuf {
        self.data.join("router").join("platform")
    }

    /// The key under which the controller seals secrets.
    pub fn seal_key(&self) -> PathBuf {
        self.data.join("controller").join("seal.key")
    }

    /// The key by which git clients know the builder.
    pub fn host_key(&self) -> PathBuf {
        self.data.join("builder").join("ssh_host_ed25519_key")
    }

    /// What the builder makes that key of.
    pub fn host_key_seed(&self) -> PathBuf {
        self.data.join("builder").join("host_key.seed")
    }

    /// What the controller begins its memory with, where that is a backup.
    pub fn seed(&self) -> PathBuf {
        self.data.join("controller").join("seed")
    }

    /// What runs: records, locks, the table of programs.
    pub fn run(&self) -> PathBuf {
        self.data.join("run")
    }

    /// The commands the supervisor keeps running.
    pub fn table(&self) -> PathBuf {
        self.run().join("programs.json")
    }

    /// The record of a program, the supervisor or the guardian.
    pub fn record(&self, name: &str) -> PathBuf {
        self.run().join(format!("{name}.json"))
    }

    /// The lock that only one process of a name holds.
    pub fn lock(&self, name: &str) -> PathBuf {
        self.run().join(format!("{name}.lock"))
    }

    /// The folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.data.join("log")
    }

    /// What a program writes to its standard error.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Where the authority's certificate is put for the users of this machine, as the data folder is private.
    /// Named after the data folder, so that two clusters do not share one.
    pub fn public_ca(&self) -> PathBuf {
        if self.data == Path::new(DEFAULT_DATA) {
            return PathBuf::from("/etc/trireme/ca.pem");
        }
        let name = self.data.to_string_lossy().trim_matches('/').replace('/', "-");
        PathBuf::from(format!("/etc/trireme/{name}.ca.pem"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_on_one_machine_publish_two_certificates() {
        assert_eq!(Layout::new(DEFAULT_DATA).public_ca(), Path::new("/etc/trireme/ca.pem"));
        let second = Layout::new("/srv/two").public_ca();
        assert_eq!(second, Path::new("/etc/trireme/srv-two.ca.pem"));
    }

    #[test]
    fn every_program_has_its_own_admin_port() {
        let mut offsets = PROGRAMS.map(|program| program.admin_offset);
        offsets.sort_unstable();
        assert_eq!(offsets, [10, 11, 12, 13, 14, 15]);
    }
}
