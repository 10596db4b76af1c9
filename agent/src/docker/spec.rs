//! What containers are made from: names, labels, limits, and the same confinement for all of them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
    Mount, MountType, NetworkingConfig, PortBinding,
};

use model::name::{MountPath, VolumeId};
use model::unit::UnitKind;

use super::slots::Slot;
use crate::{orders::Order, volumes::Volumes};

/// Label: the unit's id.
pub const UNIT: &str = "trireme.unit";
/// Label: the app.
pub const APP: &str = "trireme.app";
/// Label: the process type.
pub const PROCESS: &str = "trireme.process";
/// Label: the name users see, `web.1` or `run.x1`.
pub const NAME: &str = "trireme.name";
/// Label: the node whose agent made it.
pub const NODE: &str = "trireme.node";
/// Label: hash of what it was made from.
pub const SPEC: &str = "trireme.spec";
/// Label: which attempt at the unit.
pub const ATTEMPT: &str = "trireme.attempt";
/// Label: the number that gives its address and port.
pub const SLOT: &str = "trireme.slot";
/// Label: memory reserved, in bytes.
pub const MEMORY: &str = "trireme.memory";
/// Label: `true` on units that may never run twice.
pub const EXCLUSIVE: &str = "trireme.exclusive";
/// Label: a one-off command's name.
pub const ONEOFF: &str = "trireme.oneoff";
/// Label: `true` on one-off commands that outlive their session.
pub const DETACHED: &str = "trireme.detached";

/// What an ordinary image needs to start: change owners and users, and listen on low ports.
const CAPABILITIES: [&str; 6] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "NET_BIND_SERVICE"];
const PIDS: i64 = 512;
const LOG_SIZE: &str = "10m";
const LOG_FILES: &str = "3";

/// Where this node's containers are put.
#[derive(Debug, Clone)]
pub struct Place {
    /// The node.
    pub node: String,
    /// The network.
    pub network: String,
    /// The machine's CPU in thousandths of a core; the engine refuses limits above it.
    pub cpu_millis: u32,
    /// Where units that take requests are published for routers of other nodes.
    pub publish: Option<IpAddr>,
    /// Where its volumes are.
    pub volumes: Volumes,
}

/// What one container may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory, hard.
    pub memory_bytes: u64,
    /// CPU in thousandths of a core; 0: no limit.
    pub cpu_millis: u32,
}

/// A one-off command.
#[derive(Debug)]
pub struct OneOff<'a> {
    /// The app.
    pub app: &'a str,
    /// Shown as `run.<name>`.
    pub name: &'a str,
    /// The image.
    pub image: &'a str,
    /// The argument list; empty: the image's own.
    pub command: &'a [String],
    /// Environment.
    pub env: &'a HashMap<String, String>,
    /// Limits.
    pub limits: Limits,
    /// With a terminal.
    pub tty: bool,
    /// Outlives its session.
    pub detach: bool,
}

/// The container of one attempt at a unit.
pub fn unit(order: &Order, attempt: u32, place: &Place, slot: Option<Slot>) -> ContainerCreateBody {
    let unit = &order.unit;
    let mut labels = vec![
        (UNIT, unit.id.to_string()),
        (APP, unit.app.to_string()),
        (PROCESS, unit.process.to_string()),
        (NAME, unit.display_name()),
        (NODE, place.node.clone()),
        (SPEC, order.spec.clone()),
        (ATTEMPT, attempt.to_string()),
        (MEMORY, unit.memory_bytes.to_string()),
    ];
    if unit.exclusive {
        labels.push((EXCLUSIVE, "true".to_owned()));
    }
    if let Some(slot) = slot {
        labels.push((SLOT, slot.number.to_string()));
    }
    let limits = Limits { memory_bytes: unit.memory_bytes, cpu_millis: order.cpu_millis };
    let published = place.publish.filter(|_| takes_requests(order)).map(|address| {
        let host_port = slot.map(|slot| slot.port.to_string());
        let binding = PortBinding { host_ip: Some(address.to_string()), host_port };
        (format!("{}/tcp", order.port), binding)
    });
    ContainerCreateBody {
        hostname: Some(hostname(&unit.display_name())),
        env: Some(environment(order.env.iter())),
        labels: Some(labelled(labels)),
        exposed_ports: published.as_ref().map(|(port, _)| vec![port.clone()]),
        networking_config: slot.map(|slot| at(slot, place)),
        ..body(
            &order.image,
            &order.command,
            HostConfig {
                port_bindings: published
                    .map(|(port, binding)| [(port, Some(vec![binding]))].into()),
                mounts: Some(unit.mounts.iter().map(|it| mount(it, place)).collect()),
                ..confined(limits, place)
            },
        )
    }
}

fn at(slot: Slot, place: &Place) -> NetworkingConfig {
    let ipam = EndpointIpamConfig { ipv4_address: Some(slot.ip.to_string()), ..Default::default() };
    let endpoint = EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() };
    NetworkingConfig { endpoints_config: Some([(place.network.clone(), endpoint)].into()) }
}

fn mount((path, volume): (&MountPath, &VolumeId), place: &Place) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(place.volumes.path(volume).to_string_lossy().into_owned()),
        target: Some(path.to_string()),
        ..Mount::default()
    }
}

/// Whether routers send requests to it.
fn takes_requests(order: &Order) -> bool {
    order.unit.kind == UnitKind::Service && order.unit.process.is_web() && order.port != 0
}

/// The container of a one-off command.
pub fn one_off(one_off: &OneOff<'_>, place: &Place) -> ContainerCreateBody {
    let mut labels = vec![
        (ONEOFF, one_off.name.to_owned()),
        (APP, one_off.app.to_owned()),
        (NAME, format!("run.{}", one_off.name)),
        (NODE, place.node.clone()),
        (MEMORY, one_off.limits.memory_bytes.to_string()),
    ];
    if one_off.detach {
        labels.push((DETACHED, "true".to_owned()));
    }
    let is_attached = Some(!one_off.detach);
    ContainerCreateBody {
        hostname: Some(hostname(&format!("run.{}", one_off.name))),
        env: Some(environment(one_off.env.iter().collect::<BTreeMap<_, _>>().into_iter())),
        labels: Some(labelled(labels)),
        tty: Some(one_off.tty),
        open_stdin: is_attached,
        stdin_once: is_attached,
        attach_stdin: is_attached,
        attach_stdout: is_attached,
        attach_stderr: is_attached,
        ..body(one_off.image, one_off.command, confined(one_off.limits, place))
    }
}

fn body(image: &str, command: &[String], host_config: HostConfig) -> ContainerCreateBody {
    // Given as the entry point, a command replaces the image's entry point and its arguments both.
    let entrypoint = (!command.is_empty()).then(|| command.to_vec());
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint,
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}

fn confined(limits: Limits, place: &Place) -> HostConfig {
    let memory = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
    let cpu_millis = limits.cpu_millis.min(place.cpu_millis);
    HostConfig {
        memory: Some(memory),
        // Memory and swap together: no swap.
        memory_swap: Some(memory),
        nano_cpus: (cpu_millis > 0).then(|| i64::from(cpu_millis) * 1_000_000),
        pids_limit: Some(PIDS),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        init: Some(true),
        network_mode: Some(place.network.clone()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

fn environment<'a>(env: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<String> {
    env.map(|(key, value)| format!("{key}={value}")).collect()
}

fn labelled<'a>(labels: impl IntoIterator<Item = (&'a str, String)>) -> HashMap<String, String> {
    labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A unit's name as a host name: `web.1` is `web-1`.
fn hostname(name: &str) -> String {
    name.replace(['.', '_'], "-").chars().take(63).collect()
}
