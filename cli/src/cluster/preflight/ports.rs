//! Is a port free, and if not, who holds it.

use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use super::super::{choices::Listener, process::all_pids};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A process that was killed lets go of its ports a moment after it is gone from `/proc`.
const ENDING: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// The process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` (process {})", self.name, self.pid)
    }
}

/// Who holds a port, in words.
pub fn named(holder: Option<Holder>) -> String {
    holder.map_or_else(|| "another program".to_owned(), |holder| holder.to_string())
}

/// Why an address cannot be listened on, and who holds it, as far as that is seen. Blocks for a moment where a holder is
/// just ending.
pub fn obstacle(address: &SocketAddr) -> Option<(io::Error, Option<Holder>)> {
    let begun = Instant::now();
    loop {
        let error = TcpListener::bind(address).err()?;
        let is_in_use = error.kind() == io::ErrorKind::AddrInUse;
        let holder = if is_in_use { holder_of(address.port()) } else { None };
        let may_be_ending = is_in_use && holder.is_none();
        if !may_be_ending || begun.elapsed() > ENDING {
            return Some((error, holder));
        }
        thread::sleep(LOOK_PERIOD);
    }
}

/// What keeps the cluster from listening there, if anything.
pub fn problem(listener: &Listener) -> Option<String> {
    let Listener { what, address, flag, .. } = listener;
    let (error, holder) = obstacle(address)?;
    let port = address.port();
    Some(match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = named(holder);
            format!(
                "port {port}, wanted for {what}, is held by {holder}. Stop it, or choose another port with {flag}."
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{address}, wanted for {what}, is not an address of this machine. Choose one with --bind."
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "port {port}, wanted for {what}, may not be opened by this user. Run as root, or choose another port with {flag}."
            )
        }
        _ => format!(
            "port {port}, wanted for {what}, cannot be opened ({error}). Choose another one with {flag}."
        ),
    })
}

/// Who listens on a TCP port, as far as `/proc` tells this user.
pub fn holder_of(port: u16) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode =
        tables.iter().find_map(|path| listening_inode(&fs::read_to_string(path).ok()?, port))?;
    let socket = format!("socket:[{inode}]");
    all_pids().into_iter().find(|pid| has_open(*pid, &socket)).map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Holder { pid, name: name.trim().to_owned() }
    })
}

/// The inode of the socket that listens on a port, from the text of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let matches =
            u16::from_str_radix(local_port, 16).ok()? == port && fields.get(3) == Some(&LISTEN);
        if matches { fields.get(9)?.parse().ok() } else { None }
    })
}

fn has_open(pid: u32, socket: &str) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn taken(address: SocketAddr) -> Listener {
        Listener { program: "router", what: "apps over HTTP", address, flag: "--http-port" }
    }

    #[test]
    fn a_taken_port_is_told_with_its_holder_and_the_flag() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let told = problem(&taken(address)).unwrap();
        let own = std::process::id();
        assert!(
            told.contains(&format!("(process {own})")) && told.contains("--http-port"),
            "{told}"
        );
        // Held on one address, wanted on all of them.
        assert!(problem(&taken(SocketAddr::new([0, 0, 0, 0].into(), address.port()))).is_some());
        drop(held);
        assert_eq!(problem(&taken(address)), None);
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let told = problem(&taken("192.0.2.1:8080".parse().unwrap())).unwrap();
        assert!(told.contains("--bind"), "{told}");
    }

    #[test]
    fn only_listening_sockets_hold_a_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1CE8 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0\n\
            1: 00000000:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0\n";
        assert_eq!(listening_inode(table, 7400), Some(22));
        assert_eq!(listening_inode(table, 7401), None);
    }
}
