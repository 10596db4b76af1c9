//! Whether the ports of programs that run answer, and those of others are free.

use std::time::Duration;

use tokio::net::TcpStream;

use super::finding::{Finding, Grade};
use crate::cluster::{
    choices::{Choices, Listener},
    health::ProgramStatus,
    preflight::{holder_of, named},
};

/// Connecting on the machine itself takes no time.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Of programs that run, their ports must answer; of others, they must be free.
pub(super) async fn ports(choices: &Choices, programs: &[ProgramStatus]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in choices.listeners() {
        let status = programs.iter().find(|status| status.name == listener.program);
        let is_running = status.is_some_and(|status| status.pid.is_some());
        findings.extend(port(&listener, is_running).await);
    }
    if findings.is_empty() {
        findings.push(Finding::well("ports", "all as they should be".to_owned()));
    }
    findings
}

async fn port(listener: &Listener, is_running: bool) -> Option<Finding> {
    let mut address = listener.address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    let answers = matches!(connected, Ok(Ok(_)));
    let area = format!("port {}", address.port());
    let (program, what) = (listener.program, listener.what);
    match (is_running, answers) {
        (true, true) | (false, false) => None,
        (true, false) => Some(Finding::new(
            &area,
            Grade::Problem,
            format!("{program} runs but does not answer there ({what})"),
            "look for a firewall on the loopback interface, and into the program's log".to_owned(),
        )),
        (false, true) => {
            let holder = named(holder_of(address.port()));
            Some(Finding::new(
                &area,
                Grade::Problem,
                format!("{holder} holds it; {program} wants it ({what})"),
                format!("stop it, or move the port with `clusterctl up {}`", listener.flag),
            ))
        }
    }
}
