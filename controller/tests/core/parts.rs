//! An agent without Docker and a router without sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::node::{Addresses, Node};
use model::route::{RouteTable, RouterStatus};
use model::time::Time;
use model::unit::{Desired, Phase, Unit, UnitStatus};
use proto::gateway::gateway_client::GatewayClient;
use proto::gateway::{AssignmentSet, AssignmentsRequest, NodeReport, RouterReport, RoutesRequest};
use service::Stop;
use tonic::transport::Channel;

use crate::cluster::{Cluster, MIB};

const BEAT: Duration = Duration::from_millis(50);

/// A client of the gateway with a part's certificate.
pub fn client(cluster: &Cluster, gateway: &str, role: &str, node: &str) -> GatewayClient<Channel> {
    let identity = cluster.identity(role, node);
    GatewayClient::new(service::channel(&identity, gateway, "controller").unwrap())
}

/// Runs all units it is told to; each is ready at once unless `is_slow`.
pub struct Agent {
    /// All sets it was sent.
    pub sets: Arc<Mutex<Vec<AssignmentSet>>>,
    stop: Stop,
}

/// Serves from the tables it is sent.
pub struct Router {
    pub tables: Arc<Mutex<Vec<RouteTable>>>,
    stop: Stop,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.set();
    }
}

pub fn node(name: &str) -> Node {
    Node {
        name: name.parse().unwrap(),
        addresses: Addresses { agent: "127.0.0.1:7401".to_owned(), ..Addresses::default() },
        sights: BTreeMap::new(),
        left_running: BTreeMap::new(),
        memory_bytes: 4096 * MIB,
        sessions_bytes: 0,
        cpu_millis: 2000,
        disk_free_bytes: 0,
        version: String::new(),
        clock_ahead_ms: 0,
        trouble: None,
        heard: Time(0),
    }
}

impl Agent {
    pub fn start(cluster: &Cluster, gateway: &str, name: &str) -> Agent {
        Agent::with_phase(cluster, gateway, name, Phase::Ready)
    }

    /// An agent whose units never get beyond a phase.
    pub fn with_phase(cluster: &Cluster, gateway: &str, name: &str, phase: Phase) -> Agent {
        let agent = Agent { sets: Arc::default(), stop: Stop::new() };
        let mut client = client(cluster, gateway, "agent", name);
        let (sets, stop) = (agent.sets.clone(), agent.stop.clone());
        let name = name.to_owned();
        tokio::spawn(async move {
            let request = AssignmentsRequest { node: name.clone() };
            let mut stream = client.assignments(request).await.unwrap().into_inner();
            let mut units = Vec::new();
            while !stop.is_set() {
                tokio::select! {
                    set = stream.message() => match set {
                        Ok(Some(set)) => {
                            units = read(&set);
                            sets.lock().unwrap().push(set);
                        }
                        Ok(None) | Err(_) => return,
                    },
                    () = tokio::time::sleep(BEAT) => {}
                }
                let report = report(&name, &units, phase);
                if client.report_node(report).await.is_err() {
                    return;
                }
            }
        });
        agent
    }

    pub fn last(&self) -> Option<AssignmentSet> {
        self.sets.lock().unwrap().last().cloned()
    }
}

/// The units of a set.
pub fn read(set: &AssignmentSet) -> Vec<Unit> {
    set.units.iter().map(|unit| serde_json::from_str(&unit.unit_json).unwrap()).collect()
}

/// What an agent says whose units that shall run are in a phase, and whose others are gone when they shall be.
pub fn report(name: &str, units: &[Unit], phase: Phase) -> NodeReport {
    let status = |unit: &Unit| {
        let phase = if matches!(unit.desired, Desired::Stop { .. }) { Phase::Gone } else { phase };
        let address = Some(format!("{}:5000", unit.id));
        let status = UnitStatus {
            published: None,
            phase,
            address,
            restarts: 0,
            since: Time(0),
            trouble: None,
        };
        (unit.id.to_string(), serde_json::to_string(&status).unwrap())
    };
    NodeReport {
        node_json: serde_json::to_string(&node(name)).unwrap(),
        statuses_json: units.iter().map(status).collect(),
        applied_version: 0,
    }
}

impl Router {
    pub fn start(cluster: &Cluster, gateway: &str, name: &str) -> Router {
        let router = Router { tables: Arc::default(), stop: Stop::new() };
        let mut client = client(cluster, gateway, "router", name);
        let (tables, stop) = (router.tables.clone(), router.stop.clone());
        let name = name.to_owned();
        tokio::spawn(async move {
            let request = RoutesRequest { node: name.clone() };
            let mut stream = client.routes(request).await.unwrap().into_inner();
            let (mut epoch, mut version) = (0, 0);
            while !stop.is_set() {
                tokio::select! {
                    table = stream.message() => match table {
                        Ok(Some(table)) => {
                            let table: RouteTable = serde_json::from_str(&table.table_json).unwrap();
                            (epoch, version) = (table.epoch, table.version);
                            tables.lock().unwrap().push(table);
                        }
                        Ok(None) | Err(_) => return,
                    },
                    () = tokio::time::sleep(BEAT) => {}
                }
                let status =
                    RouterStatus { epoch, version, draining: BTreeMap::new(), heard: Time(0) };
                let status_json = serde_json::to_string(&status).unwrap();
                let report = RouterReport { node: name.clone(), status_json };
                if version > 0 && client.report_router(report).await.is_err() {
                    return;
                }
            }
        });
        router
    }

    /// How many units of an app are in the last table.
    pub fn routed(&self, app: &str) -> usize {
        let tables = self.tables.lock().unwrap();
        let last = tables.last();
        let row = last.and_then(|table| table.apps.iter().find(|row| row.app.as_str() == app));
        row.map_or(0, |row| row.units.len())
    }
}
