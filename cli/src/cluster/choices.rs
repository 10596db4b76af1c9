//! What an operator chose for a cluster: names, ports, places. Kept with the data, so that a later `up` needs no flags.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::layout::{ETCD, Layout, PROGRAMS, Program};
use super::several::{CLIENT_OFFSET, PEER_OFFSET, Several};

/// The version of the document.
pub const VERSION: u32 = 1;

/// How far the internal ports reach from the base port.
const INTERNAL_PORTS: u16 = 16;
/// Programs that only nodes with a controller run.
const CONTROL: [&str; 2] = ["controller", "builder"];
/// Internal listeners of a machine alone never leave it.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Everything that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// The name of this machine in the cluster.
    pub node: String,
    /// The domain below which apps answer.
    pub domain: String,
    /// The address on which users are served.
    pub bind: IpAddr,
    /// The ports.
    pub ports: Ports,
    /// The Docker Engine's socket.
    pub docker_socket: PathBuf,
    /// Where users find the authority's certificate.
    pub ca_out: PathBuf,
    /// What makes this machine one of several; none on a machine alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub several: Option<Several>,
    /// What the certificates of this node's parts carry where its cluster began anew from a backup, so that those of the
    /// nodes that were prove nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub admission: String,
}

/// The ports that can be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Apps over HTTP.
    pub http: u16,
    /// Apps over HTTPS.
    pub https: u16,
    /// git over SSH.
    pub ssh: u16,
    /// The API.
    pub api: u16,
    /// The image registry, loopback only.
    pub registry: u16,
    /// The first of the internal ports.
    pub base: u16,
}

/// What `up` was asked for; what is not given keeps its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// See [`Choices::node`].
    pub node: Option<String>,
    /// See [`Choices::domain`].
    pub domain: Option<String>,
    /// See [`Choices::bind`].
    pub bind: Option<IpAddr>,
    /// See [`Choices::ports`].
    pub ports: PortWishes,
    /// See [`Choices::docker_socket`].
    pub docker_socket: Option<PathBuf>,
    /// See [`Choices::ca_out`].
    pub ca_out: Option<PathBuf>,
    /// See [`Choices::several`].
    pub several: Option<Several>,
}

/// See [`Ports`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortWishes {
    pub http: Option<u16>,
    pub https: Option<u16>,
    pub ssh: Option<u16>,
    pub api: Option<u16>,
    pub registry: Option<u16>,
    pub base: Option<u16>,
}

/// A socket the cluster listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Whose it is.
    pub program: &'static str,
    /// What it serves.
    pub what: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The flag that moves it.
    pub flag: &'static str,
}

impl Choices {
    /// The choices of a new cluster.
    pub fn new(layout: &Layout, host: &str) -> Choices {
        Choices {
            node: node_name(host),
            domain: "apps.localhost".to_owned(),
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ports: Ports { http: 80, https: 443, ssh: 2222, api: 8000, registry: 5000, base: 7400 },
            docker_socket: PathBuf::from("/var/run/docker.sock"),
            ca_out: layout.public_ca(),
            several: None,
            admission: String::new(),
        }
    }

    /// These, with what is wished for.
    pub fn with(&self, wishes: &Wishes) -> Choices {
        let (ports, wanted) = (&self.ports, &wishes.ports);
        Choices {
            node: wishes.node.clone().unwrap_or_else(|| self.node.clone()),
            domain: wishes.domain.clone().unwrap_or_else(|| self.domain.clone()),
            bind: wishes.bind.unwrap_or(self.bind),
            ports: Ports {
                http: wanted.http.unwrap_or(ports.http),
                https: wanted.https.unwrap_or(ports.https),
                ssh: wanted.ssh.unwrap_or(ports.ssh),
                api: wanted.api.unwrap_or(ports.api),
                registry: wanted.registry.unwrap_or(ports.registry),
                base: wanted.base.unwrap_or(ports.base),
            },
            docker_socket: wishes
                .docker_socket
                .clone()
                .unwrap_or_else(|| self.docker_socket.clone()),
            ca_out: wishes.ca_out.clone().unwrap_or_else(|| self.ca_out.clone()),
            several: wishes.several.clone().or_else(|| self.several.clone()),
            admission: self.admission.clone(),
        }
    }

    /// What is wrong with them in themselves.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (flag, name) in [("--node", &self.node), ("--domain", &self.domain)] {
            if !is_name(name) {
                problems.push(format!(
                    "{flag} `{name}` is not a host name. Use lowercase letters, digits, `-` and dots."
                ));
            }
        }
        if self.ports.base.checked_add(INTERNAL_PORTS).is_none() {
            problems.push(format!(
                "--base-port {} leaves no room for {INTERNAL_PORTS} ports above it. Use a lower one.",
                self.ports.base
            ));
            return problems;
        }
        let listeners = self.listeners();
        for (place, listener) in listeners.iter().enumerate() {
            let port = listener.address.port();
            if port == 0 {
                problems.push(format!("{} 0 is not a port. Use 1 to 65535.", listener.flag));
            }
            let twin = listeners[..place].iter().find(|other| other.address.port() == port);
            if let Some(twin) = twin.filter(|_| port != 0) {
                problems.push(format!(
                    "port {port} is wanted twice: for {} and for {}. Move one with {} or {}.",
                    twin.what, listener.what, twin.flag, listener.flag
                ));
            }
        }
        problems
    }

    /// The programs of this node, in the order of their start.
    pub fn programs(&self) -> Vec<Program> {
        match &self.several {
            None => PROGRAMS.to_vec(),
            Some(Several { control: true, .. }) => [ETCD].into_iter().chain(PROGRAMS).collect(),
            Some(_) => {
                let runs_apps = |program: &Program| !CONTROL.contains(&program.name);
                PROGRAMS.into_iter().filter(runs_apps).collect()
            }
        }
    }

    /// Where a part listens for those of other nodes: nowhere but on this machine when it is alone.
    pub fn inner(&self, offset: u16) -> SocketAddr {
        let address = self.several.as_ref().map_or(LOOPBACK, |several| several.address);
        SocketAddr::new(address, self.ports.base + offset)
    }

    /// Every socket the cluster listens on.
    pub fn listeners(&self) -> Vec<Listener> {
        let ports = &self.ports;
        let public = |program, what, port, flag| Listener {
            program,
            what,
            address: SocketAddr::new(self.bind, port),
            flag,
        };
        let inner = |program, what, offset| Listener {
            program,
            what,
            address: self.inner(offset),
            flag: "--base-port",
        };
        let mut listeners = vec![
            public("router", "apps over HTTP", ports.http, "--http-port"),
            public("router", "apps over HTTPS", ports.https, "--https-port"),
            public("builder", "git over SSH", ports.ssh, "--ssh-port"),
            public("controller", "the API", ports.api, "--api-port"),
            Listener {
                program: "registry-proxy",
                what: "the image registry",
                address: SocketAddr::new(LOOPBACK, ports.registry),
                flag: "--registry-port",
            },
            inner("controller", "the gateway", 0),
            inner("agent", "sessions", 1),
            inner("logger", "log lines", 2),
            inner("registry-proxy", "the registry's control", 3),
            inner(ETCD.name, "controllers' memory", CLIENT_OFFSET),
            inner(ETCD.name, "the memory's members", PEER_OFFSET),
        ];
        let programs = self.programs();
        listeners.retain(|listener| programs.iter().any(|it| it.name == listener.program));
        listeners.extend(programs.iter().map(|program| Listener {
            program: program.name,
            what: "an admin endpoint",
            address: self.admin(program.admin_offset),
            flag: "--base-port",
        }));
        listeners
    }

    /// The admin endpoint at an offset from the base port.
    pub fn admin(&self, offset: u16) -> SocketAddr {
        SocketAddr::new(LOOPBACK, self.ports.base + offset)
    }

    /// The API's address for users.
    pub fn api_url(&self) -> String {
        match &self.several {
            // A name below `localhost` would lead to the asking machine itself.
            Some(several) if self.is_local() => {
                format!("https://{}", SocketAddr::new(several.address, self.ports.api))
            }
            _ => format!("https://deis.{}:{}", self.domain, self.ports.api),
        }
    }

    /// Whether apps are named below `localhost`, which every machine takes for itself.
    pub fn is_local(&self) -> bool {
        self.domain == "localhost" || self.domain.ends_with(".localhost")
    }

    /// Where an app answers.
    pub fn app_url(&self, scheme: &str, app: &str) -> String {
        let (port, usual) =
            if scheme == "https" { (self.ports.https, 443) } else { (self.ports.http, 80) };
        let port = if port == usual { String::new() } else { format!(":{port}") };
        format!("{scheme}://{app}.{}{port}", self.domain)
    }
}

/// The machine's name as a node's name: what stands before the first dot, in lowercase; `node-1` if nothing is left.
fn node_name(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default().to_lowercase();
    if is_name(&first) && first != "localhost" { first } else { "node-1".to_owned() }
}

/// Labels joined by dots, as they may stand in a certificate.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Choices {
        Choices::new(&Layout::new("/d"), "Node-1.example.org")
    }

    #[test]
    fn the_defaults_are_sound_and_named_after_the_machine() {
        assert_eq!((defaults().problems(), defaults().node.as_str()), (vec![], "node-1"));
        assert_eq!(Choices::new(&Layout::new("/d"), "my_box").node, "node-1");
    }

    #[test]
    fn a_wish_changes_only_what_it_names() {
        let ports = PortWishes { base: Some(17400), ..PortWishes::default() };
        let moved = defaults().with(&Wishes { ports, ..Wishes::default() });
        assert_eq!(moved.ports, Ports { base: 17400, ..defaults().ports });
        assert_eq!(moved.admin(15).port(), 17415);
        assert_eq!(Choices { ports: defaults().ports, ..moved }, defaults());
    }

    #[test]
    fn a_port_wanted_twice_is_found_with_both_flags() {
        let ports = PortWishes { http: Some(7411), ssh: Some(0), ..PortWishes::default() };
        let problems = defaults().with(&Wishes { ports, ..Wishes::default() }).problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].contains("--http-port or --base-port"), "{problems:?}");
        assert!(problems[0].contains("--ssh-port 0"), "{problems:?}");
    }

    #[test]
    fn names_that_no_certificate_can_hold_are_refused() {
        for name in ["", "A", "a_b", "-a", "a..b", "a b"] {
            let wishes = Wishes { domain: Some(name.to_owned()), ..Wishes::default() };
            assert_eq!(defaults().with(&wishes).problems().len(), 1, "{name}");
        }
    }

    #[test]
    fn usual_ports_are_left_out_of_addresses() {
        assert_eq!(defaults().app_url("https", "demo"), "https://demo.apps.localhost");
        let ports = PortWishes { http: Some(8080), ..PortWishes::default() };
        let moved = defaults().with(&Wishes { ports, ..Wishes::default() });
        assert_eq!(moved.app_url("http", "demo"), "http://demo.apps.localhost:8080");
    }
}
