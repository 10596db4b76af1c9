//! Are the ports Trireme listens on by default free, and if not, who has them?

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Result, bail};

/// What listens where by default (ARCHITECTURE.md, "Where things listen").
const DEFAULTS: [(&str, u16, &str); 15] = [
    ("0.0.0.0", 80, "apps over HTTP"),
    ("0.0.0.0", 443, "apps over HTTPS"),
    ("0.0.0.0", 2222, "git over SSH"),
    ("0.0.0.0", 8000, "the API"),
    ("127.0.0.1", 5000, "the image registry"),
    ("127.0.0.1", 7400, "the gateway"),
    ("127.0.0.1", 7401, "the agent"),
    ("127.0.0.1", 7402, "the logger"),
    ("127.0.0.1", 7403, "the registry's retention"),
    ("127.0.0.1", 7410, "the controller's health"),
    ("127.0.0.1", 7411, "the agent's health"),
    ("127.0.0.1", 7412, "the builder's health"),
    ("127.0.0.1", 7413, "the registry proxy's health"),
    ("127.0.0.1", 7414, "the router's health"),
    ("127.0.0.1", 7415, "the logger's health"),
];

/// A cluster that was brought up here before listens where this file says, and `clusterctl up` checks that itself.
const CLUSTER_SETTINGS: &str = "/var/lib/trireme/trireme.toml";

/// Fails with every default port that another program has.
pub fn check() -> Result<()> {
    if Path::new(CLUSTER_SETTINGS).exists() {
        return Ok(());
    }
    let busy: Vec<String> = DEFAULTS
        .into_iter()
        .filter_map(|(address, port, use_)| busy(address, port, use_))
        .collect();
    if busy.is_empty() {
        return Ok(());
    }
    bail!(
        "ports that Trireme needs are in use:\n  {}\nStop those programs, or choose other ports: `clusterctl up --help`",
        busy.join("\n  ")
    );
}

fn busy(address: &str, port: u16, use_: &str) -> Option<String> {
    match TcpListener::bind((address, port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let owner = owner(port).unwrap_or_else(|| "an unknown program".to_owned());
            Some(format!("port {port} ({use_}) is held by {owner}"))
        }
        Ok(_) | Err(_) => None,
    }
}

/// The program that listens on a port, as the kernel's tables tell it.
fn owner(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|table| fs::read_to_string(table).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok()).find_map(
        |pid| {
            let mut files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
            files.find(|file| {
                fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
            })?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some(format!("`{}` (process {pid})", name.trim()))
        },
    )
}

/// The inode of the socket in state LISTEN (0A) on this port.
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_wanted = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
        is_wanted.then(|| fields.get(9).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_reported_with_its_holder() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let report = busy("127.0.0.1", port, "testing").unwrap();
        assert!(report.starts_with(&format!("port {port} (testing) is held by `")), "{report}");
        assert!(report.ends_with(&format!("(process {})", std::process::id())), "{report}");
        drop(held);
        assert_eq!(busy("127.0.0.1", port, "testing"), None);
    }

    #[test]
    fn only_listening_sockets_hold_a_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 77 1\n\
                     1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 78 1\n";
        assert_eq!(listening_inode(table, 8080), Some("78"));
        assert_eq!(listening_inode(table, 80), None);
    }
}
