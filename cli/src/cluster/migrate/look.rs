//! Everything that would keep a machine alone from becoming one of several, found out before anything is changed.

use std::{
    io::ErrorKind,
    net::{IpAddr, TcpListener},
};

use crate::cluster::{
    choices::{Choices, Listener},
    etcd, health,
    layout::{ETCD, Layout},
    preflight::{data_problem, obstacle},
    record::Record,
    up::data_flag,
};

/// All problems; empty where the move can begin.
pub async fn problems(layout: &Layout, now: &Choices, next: &Choices) -> Vec<String> {
    let mut problems = health::problems(layout, now).await;
    let address = next.inner(0).ip();
    match address_problem(address) {
        Some(problem) => problems.push(problem),
        None => problems.extend(port_problems(layout, now, next)),
    }
    if !now.bind.is_unspecified() && now.bind != address {
        problems.push(format!(
            "the API listens on {bind} only, where no other node asks for it. `clusterctl down{data}`, then `clusterctl up{data} --bind 0.0.0.0` or `--bind {address}`.",
            bind = now.bind,
            data = data_flag(layout)
        ));
    }
    if etcd::binary().is_none() {
        problems.push("etcd, which keeps the memory of several nodes, is not installed. Install it with `apt-get install etcd-server`.".to_owned());
    }
    problems.extend(data_problem(&layout.data));
    problems
}

fn address_problem(address: IpAddr) -> Option<String> {
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Some(format!(
            "--address {address} leads no other node here. Give the one at which they reach this machine; `ip -brief address` lists all."
        ));
    }
    let error = TcpListener::bind((address, 0)).err()?;
    Some(match error.kind() {
        ErrorKind::AddrNotAvailable => format!(
            "--address {address} is not an address of this machine; `ip -brief address` lists all."
        ),
        _ => format!("--address {address} cannot be listened on: {error}."),
    })
}

/// What is to be listened on from now on must be free, but for an etcd that an earlier try left.
fn port_problems(layout: &Layout, now: &Choices, next: &Choices) -> Vec<String> {
    let before = now.listeners();
    let is_there = Record::read(layout, ETCD.name).living().is_some();
    let is_ours = |listener: &Listener| {
        before.iter().any(|known| known.address == listener.address)
            || is_there && listener.program == ETCD.name
    };
    let wanted = next.listeners().into_iter().filter(|listener| !is_ours(listener));
    wanted.filter_map(|listener| port_problem(&listener)).collect()
}

fn port_problem(listener: &Listener) -> Option<String> {
    let Listener { what, address, .. } = listener;
    let (error, holder) = obstacle(address)?;
    let why = holder.map_or_else(
        || format!("cannot be opened ({error})"),
        |holder| format!("is held by {holder}"),
    );
    Some(format!("{address}, wanted for {what}, {why}. Free it, then run this again."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_must_be_of_this_machine_and_reached_by_others() {
        for bad in ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1"] {
            let problem = address_problem(bad.parse().unwrap()).unwrap();
            assert!(problem.contains("leads no other node here"), "{problem}");
        }
        // Kept for documentation: nobody's.
        let problem = address_problem("203.0.113.77".parse().unwrap()).unwrap();
        assert!(problem.contains("is not an address of this machine"), "{problem}");
    }

    #[test]
    fn who_holds_a_port_is_named() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let listener = Listener { program: "agent", what: "sessions", address, flag: "" };
        let problem = port_problem(&listener).unwrap();
        assert!(problem.contains(&format!("(process {})", std::process::id())), "{problem}");
        drop(holder);
        assert_eq!(port_problem(&listener), None);
    }
}
