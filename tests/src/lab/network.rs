//! The bridge all hosts hang on, and each host's cable to it.

use std::process::Command;

use anyhow::Result;

use super::{Host, Lab, done};

/// Of its own names only: `tri-lab-N`.
fn bridge(lab: &Lab) -> String {
    format!("tri-lab-{}", lab.number)
}

fn subnet(lab: &Lab) -> String {
    format!("10.77.{}.0/24", lab.number)
}

/// What the filter lets through and what is hidden behind this machine's address.
fn rules(lab: &Lab) -> [Vec<String>; 3] {
    let (bridge, subnet) = (bridge(lab), subnet(lab));
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    [
        words(&format!("filter FORWARD -i {bridge} -j ACCEPT")),
        words(&format!("filter FORWARD -o {bridge} -j ACCEPT")),
        words(&format!("nat POSTROUTING -s {subnet} ! -d {subnet} -j MASQUERADE")),
    ]
}

fn iptables(action: &str, rule: &[String]) -> Command {
    let mut command = Command::new("iptables");
    command.args(["-w", "-t", &rule[0], action]).args(&rule[1..]);
    command
}

fn ip(line: &str) -> Result<String> {
    done(Command::new("ip").args(line.split(' ')))
}

pub(super) fn make_bridge(lab: &Lab) -> Result<()> {
    let bridge = bridge(lab);
    ip(&format!("link add {bridge} type bridge"))?;
    ip(&format!("address add 10.77.{}.1/24 dev {bridge}", lab.number))?;
    ip(&format!("link set {bridge} up"))?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    for rule in rules(lab) {
        done(&mut iptables("-I", &rule))?;
    }
    Ok(())
}

pub(super) fn remove_bridge(lab: &Lab) -> Result<()> {
    for rule in rules(lab) {
        // As often as it stands there.
        while iptables("-D", &rule).output()?.status.success() {}
    }
    let bridge = bridge(lab);
    if exists(&bridge) {
        ip(&format!("link delete {bridge}"))?;
    }
    Ok(())
}

fn exists(link: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(link).exists()
}

/// The namespace and its cable.
pub(super) fn make_host(lab: &Lab, host: &Host) -> Result<()> {
    let (namespace, cable) = (&host.namespace, &host.cable);
    ip(&format!("netns add {namespace}"))?;
    ip(&format!("link add {cable} type veth peer name eth0 netns {namespace}"))?;
    ip(&format!("link set {cable} master {} up", bridge(lab)))?;
    for line in [
        "link set lo up".to_owned(),
        format!("address add {}/24 dev eth0", host.address),
        "link set eth0 up".to_owned(),
        format!("route add default via 10.77.{}.1", lab.number),
    ] {
        ip(&format!("-n {namespace} {line}"))?;
    }
    Ok(())
}

pub(super) fn remove_host(host: &Host) -> Result<()> {
    if exists(&host.cable) {
        ip(&format!("link delete {}", host.cable))?;
    }
    if host.namespace_file().exists() {
        ip(&format!("netns delete {}", host.namespace))?;
    }
    Ok(())
}

/// Pulls the cable, or puts it in.
pub(super) fn set_cable(host: &Host, is_in: bool) -> Result<()> {
    let state = if is_in { "up" } else { "down" };
    ip(&format!("link set {} {state}", host.cable)).map(|_| ())
}

/// Lets no more than this through the cable, in both directions; none: all there is.
pub(super) fn set_rate(host: &Host, kilobits: Option<u32>) -> Result<()> {
    let shape = |inside: bool| -> Result<()> {
        let device = if inside { "eth0" } else { host.cable.as_str() };
        let mut command = Command::new("tc");
        if inside {
            command.args(["-n", &host.namespace]);
        }
        match kilobits {
            Some(rate) => {
                let rate = format!("{rate}kbit");
                let shaped = ["root", "tbf", "rate", &rate, "burst", "16kb", "latency", "400ms"];
                done(command.args(["qdisc", "replace", "dev", device]).args(shaped))?;
            }
            // One that was never shaped has nothing to delete.
            None => drop(command.args(["qdisc", "delete", "dev", device, "root"]).output()?),
        }
        Ok(())
    };
    shape(true)?;
    shape(false)
}
