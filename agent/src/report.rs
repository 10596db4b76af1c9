//! What every controller is told: each second and after each change, the whole truth of this node.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use link::Gateways;
use model::{
    name::NodeName,
    node::{Addresses, Node},
    time::Time,
};
use proto::gateway::{NodeReport, gateway_client::GatewayClient};
use service::{Clock, Stop, durable};
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::{docker::Docker, engine::Told, fence::Fence, room::Room, sights::Sights};

const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Below the time after which a silent node gets no new units, so that one lost report does not make it so.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Changes that come this close together travel together.
const GATHER: Duration = Duration::from_millis(10);
const DISK_EVERY: Duration = Duration::from_secs(10);

/// What of the machine does not change.
#[derive(Debug, Clone)]
pub struct Machine {
    /// This node.
    pub name: NodeName,
    /// Where its parts are reached.
    pub addresses: Addresses,
    /// Memory for units.
    pub memory_bytes: u64,
    /// Processors.
    pub cpu_millis: u32,
}

/// What of the machine moves.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Memory held by one-off commands.
    pub sessions_bytes: u64,
    /// Free disk where images are kept.
    pub disk_free_bytes: u64,
    /// How the other nodes were found.
    pub sights: Sights,
    /// The machine's clock.
    pub now: Time,
}

/// A report of this moment.
pub fn report(machine: &Machine, gauges: Gauges, told: &Told) -> NodeReport {
    let Gauges { sessions_bytes, disk_free_bytes, sights, now } = gauges;
    let node = Node {
        sights,
        name: machine.name.clone(),
        addresses: machine.addresses.clone(),
        memory_bytes: machine.memory_bytes,
        sessions_bytes: sessions_bytes.saturating_add(told.left_running.bytes),
        left_running: told.left_running.until.clone(),
        cpu_millis: machine.cpu_millis,
        disk_free_bytes,
        trouble: told.trouble.clone(),
        // The receiver's clock says when it was heard; from ours it sees how far the two are apart.
        heard: now,
        version: service::VERSION.to_owned(),
        clock_ahead_ms: 0,
    };
    let statuses_json: HashMap<String, String> = told
        .statuses
        .iter()
        .map(|(unit, status)| {
            let status = serde_json::to_string(status).expect("a status is plain data");
            (unit.to_string(), status)
        })
        .collect();
    NodeReport {
        node_json: serde_json::to_string(&node).expect("a node is plain data"),
        statuses_json,
        applied_version: told.applied_version,
    }
}

/// Reports until stopped.
#[derive(Clone)]
pub struct Reporter {
    /// The machine.
    pub machine: Machine,
    /// The gateways.
    pub gateways: Gateways,
    /// The engine's statuses.
    pub told: watch::Receiver<Told>,
    /// Memory, for what one-off commands hold of it.
    pub room: Room,
    /// Free disk, as [`watch_disk`] sees it.
    pub disk_free: Arc<AtomicU64>,
    /// How the other nodes were found.
    pub sights: watch::Receiver<Sights>,
    /// Told when a leader acknowledges a report.
    pub fence: Fence,
    /// Time.
    pub clock: Clock,
}

impl Reporter {
    /// Tells every controller the truth each second, and at once when it changes. One that is dead delays no other.
    pub async fn run(self, stop: Stop) {
        let gateways = self.gateways.clone();
        gateways
            .with_each(stop, |(address, channel)| self.clone().report_to(address, channel))
            .await;
    }

    async fn report_to(mut self, address: String, channel: Channel) {
        let mut client = GatewayClient::new(channel);
        loop {
            let told = self.told.borrow_and_update().clone();
            if told.is_settled
                && let Err(error) = self.tell(&mut client, &told).await
            {
                tracing::debug!(%address, error = format!("{error:#}"), "the report was not heard");
            }
            tokio::select! {
                () = tokio::time::sleep(REPORT_EVERY) => {}
                changed = self.told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                }
            }
        }
    }

    async fn tell(&self, client: &mut GatewayClient<Channel>, told: &Told) -> anyhow::Result<()> {
        let gauges = Gauges {
            sessions_bytes: self.room.sessions_bytes(),
            disk_free_bytes: self.disk_free.load(Ordering::Relaxed),
            sights: self.sights.borrow().clone(),
            now: Time(self.clock.now_ms()),
        };
        let report = report(&self.machine, gauges, told);
        let sent = self.clock.monotonic();
        let answer = tokio::time::timeout(REPORT_TIMEOUT, client.report_node(report)).await;
        let answer = answer.context("report in time")?.context("report")?;
        if answer.into_inner().leads {
            self.fence.acknowledged(sent);
        }
        Ok(())
    }
}

/// Looks at the disk images are on, now and then. Without the Docker Engine it looks at `fallback`.
pub async fn watch_disk(docker: Arc<Docker>, fallback: PathBuf, free: Arc<AtomicU64>, stop: Stop) {
    let mut root = None;
    loop {
        if root.is_none()
            && let Ok(client) = docker.client().await
            && let Ok(info) = client.info().await
        {
            root = info.docker_root_dir.map(PathBuf::from);
        }
        let path = root.as_ref().unwrap_or(&fallback);
        match durable::free_bytes(path) {
            Ok(bytes) => free.store(bytes, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "free disk space is not known");
            }
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(DISK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{
        node::Sight,
        unit::{Phase, UnitStatus},
    };

    use super::*;
    use crate::engine::LeftRunning;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let machine = Machine {
            name: "n1".parse().unwrap(),
            addresses: Addresses {
                agent: "127.0.0.1:7401".to_owned(),
                logger: "127.0.0.1:7402".to_owned(),
                registry: "127.0.0.1:7403".to_owned(),
                gateway: None,
            },
            memory_bytes: 5,
            cpu_millis: 2_000,
        };
        let status = UnitStatus {
            published: None,
            phase: Phase::Ready,
            address: Some("10.0.0.2:5000".to_owned()),
            restarts: 1,
            since: Time(3),
            trouble: None,
        };
        let told = Told {
            is_settled: true,
            statuses: [("shop-web-1".parse().unwrap(), status.clone())].into(),
            applied_version: 9,
            trouble: Some("failed to reach the Docker Engine".to_owned()),
            left_running: LeftRunning {
                until: [("shop-web-0".parse().unwrap(), Time(8))].into(),
                bytes: 40,
            },
        };
        let sights: Sights = [("n2".parse().unwrap(), Sight::Refused)].into();
        let gauges =
            Gauges { sessions_bytes: 3, disk_free_bytes: 77, sights: sights.clone(), now: Time(7) };
        let report = report(&machine, gauges, &told);
        let node: Node = serde_json::from_str(&report.node_json).unwrap();
        assert_eq!((node.disk_free_bytes, node.sessions_bytes), (77, 43));
        assert_eq!(node.left_running, told.left_running.until);
        assert_eq!(node.trouble, told.trouble);
        assert_eq!(node.sights, sights);
        let read: UnitStatus = serde_json::from_str(&report.statuses_json["shop-web-1"]).unwrap();
        assert_eq!((read, report.applied_version), (status, 9));
    }
}
