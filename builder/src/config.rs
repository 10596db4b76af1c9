//! The builder's settings.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use service::{Settings, Size, Span};

/// Where the builder listens, whom it asks and what a build may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// For git over SSH.
    pub listen: SocketAddr,
    /// For health, version and metrics.
    pub admin_listen: SocketAddr,
    /// This node.
    pub node: String,
    /// Controllers' gateways.
    pub gateways: Vec<String>,
    /// The logger of this node.
    pub logger: String,
    /// The registry images are pushed to.
    pub registry: String,
    /// The Docker Engine's socket.
    pub docker: PathBuf,
    /// The image language apps stand on.
    pub stack: String,
    /// Repositories, hooks and the host key.
    pub folder: PathBuf,
    /// This program's certificate and key.
    pub identity: PathBuf,
    /// The hook's program.
    pub hook: PathBuf,
    /// What a push and a build may take.
    pub limits: Limits,
}

/// What a push and a build may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes a push may send.
    pub push_bytes: u64,
    /// Below this many free bytes nothing is received.
    pub min_free_bytes: u64,
    /// Memory of all running builds together, in bytes.
    pub memory_bytes: u64,
    /// How long a build may take.
    pub build_time: Duration,
    /// Builds at one time.
    pub parallel: usize,
}

impl Config {
    /// Reads every setting.
    pub fn read(settings: &mut Settings) -> Config {
        let data_dir: PathBuf =
            settings.get("cluster.data_dir", "/var/lib/trireme", "Folder of all programs' files.");
        Config {
            listen: settings.get("listen", "0.0.0.0:2222", "Address for git over SSH."),
            admin_listen: settings.get(
                "admin_listen",
                "127.0.0.1:7412",
                "Address for health, version and metrics.",
            ),
            node: settings.required("cluster.node", "node-1", "This node's name."),
            gateways: link::gateways(settings),
            logger: settings.get("cluster.logger", "127.0.0.1:7402", "Address of the logger."),
            registry: settings.get(
                "cluster.registry",
                "127.0.0.1:5000",
                "Address of the image registry.",
            ),
            docker: settings.get(
                "docker",
                "/var/run/docker.sock",
                "Socket of the Docker Engine that builds.",
            ),
            stack: settings.get(
                "stack",
                "trireme/stack:12",
                "Image that apps without a Dockerfile stand on.",
            ),
            folder: data_dir.join("builder"),
            identity: data_dir.join("identity/builder"),
            hook: settings
                .optional(
                    "hook",
                    "The pre-receive program; by default `trireme-pre-receive` beside this program.",
                )
                .unwrap_or_else(beside_this_program),
            limits: Limits::read(settings),
        }
    }
}

impl Limits {
    fn read(settings: &mut Settings) -> Limits {
        let push: Size = settings.get("max_push", "512M", "The largest push, in bytes sent.");
        let free: Size = settings.get(
            "min_free",
            "1G",
            "With less free disk space than this, pushes are refused.",
        );
        let memory: Size = settings.get(
            "memory",
            "2G",
            "Memory of all running builds together; 0 means no limit.",
        );
        let time: Span = settings.get("build_timeout", "15m", "The longest a build may take.");
        let parallel: usize =
            settings.get("parallel", "2", "Builds at one time; further ones wait.");
        if !(1..=64).contains(&parallel) {
            settings.problem(format!("`parallel` is {parallel}; it must be from 1 to 64"));
        }
        Limits {
            push_bytes: push.0,
            min_free_bytes: free.0,
            memory_bytes: memory.0,
            build_time: time.0,
            parallel,
        }
    }
}

fn beside_this_program() -> PathBuf {
    let folder = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    folder.unwrap_or_default().join("trireme-pre-receive")
}
