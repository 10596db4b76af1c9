//! Plain facts about this platform: its names, its doors, its defaults.

use std::str::FromStr;

/// What answers, routes and run environments are made from. Set once at start.
#[derive(Debug, Clone)]
pub struct Platform {
    /// Version of this program.
    pub version: String,
    /// Apps answer at `<app>.<domain>`.
    pub domain: String,
    /// Base of git remotes: `ssh://git@localhost:2222`.
    pub git_remote_base: String,
    /// Port of the router's HTTP side.
    pub http_port: u16,
    /// Port of the router's HTTPS side.
    pub https_port: u16,
    /// `host:port` of the logger.
    pub logger: String,
    /// Memory of a unit without a limit of its own.
    pub default_memory_bytes: u64,
    /// What becomes of a scale that leaves no reserve.
    pub reserve: Reserve,
}

/// What becomes of a scale with which a production app would not survive the loss of a node. Of no effect with fewer than three nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// It is said in the app's log.
    Warn,
    /// It is refused.
    Refuse,
}

impl FromStr for Reserve {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Reserve, &'static str> {
        match text {
            "warn" => Ok(Reserve::Warn),
            "refuse" => Ok(Reserve::Refuse),
            _ => Err("it is `warn` or `refuse`"),
        }
    }
}

impl Platform {
    /// The host name an app answers to without any domain of its own.
    pub fn host_of(&self, app: &str) -> String {
        format!("{app}.{}", self.domain)
    }

    /// Where an app answers.
    pub fn url_of(&self, app: &str) -> String {
        match self.http_port {
            80 => format!("http://{}", self.host_of(app)),
            port => format!("http://{}:{port}", self.host_of(app)),
        }
    }

    /// Where an app is pushed to.
    pub fn git_remote_of(&self, app: &str) -> String {
        format!("{}/{app}.git", self.git_remote_base)
    }
}
