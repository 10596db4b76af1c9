//! Docker Swarm on the hosts of a lab: all of them managers, services published on each replica's own node.

use std::collections::BTreeMap;

use crate::lab::Host;
use crate::{run, until};

const IMAGE: &str = "trireme/stack:12";
const FIRST_PORT: u16 = 8801;

/// A swarm; dropped, every host leaves it.
pub struct Swarm {
    hosts: Vec<Host>,
    /// What Swarm calls each host: they share one host name.
    ids: BTreeMap<String, String>,
    ports: BTreeMap<String, u16>,
}

impl Swarm {
    /// `leader` begins it, and so leads it.
    #[track_caller]
    pub fn start(leader: &Host, others: &[Host]) -> Swarm {
        let address = leader.address.to_string();
        let leader_joins =
            ["swarm", "init", "--advertise-addr", &address, "--listen-addr", &address];
        run(&mut leader.docker(&leader_joins)).ok();
        let token =
            run(&mut leader.docker(&["swarm", "join-token", "--quiet", "manager"])).ok().stdout;
        for host in others {
            let own = host.address.to_string();
            let to = format!("{address}:2377");
            let join = ["swarm", "join", "--advertise-addr", &own, "--listen-addr", &own];
            run(host.docker(&join).args(["--token", token.trim(), &to])).ok();
        }
        let hosts: Vec<Host> = std::iter::once(leader).chain(others).cloned().collect();
        let id = |host: &Host| {
            let info = ["info", "--format", "{{.Swarm.NodeID}}"];
            run(&mut host.docker(&info)).ok().stdout.trim().to_owned()
        };
        let ids = hosts.iter().map(|host| (host.name.clone(), id(host))).collect();
        Swarm { hosts, ids, ports: BTreeMap::new() }
    }

    /// Services of so many replicas: on `lost` and, the second one, on `other`.
    pub fn place(&mut self, lost: &Host, other: &Host, apps: &[(&str, usize)]) {
        for (port, (app, replicas)) in (FIRST_PORT..).zip(apps) {
            self.ports.insert((*app).to_owned(), port);
            let allowed = [lost, other];
            let allowed = &allowed[..*replicas];
            let others: Vec<&Host> = self
                .hosts
                .iter()
                .filter(|host| allowed.iter().all(|it| it.name != host.name))
                .collect();
            self.set_availability(&others, "drain");
            let (count, publish) =
                (replicas.to_string(), format!("mode=host,target=5000,published={port}"));
            let create = [
                "service",
                "create",
                "--detach",
                "--no-resolve-image",
                "--name",
                app,
                "--replicas",
                &count,
            ];
            let mut command = self.hosts[0].docker(&create);
            command.args(["--publish", &publish, IMAGE, "python3", "-c", super::PROGRAM]);
            run(&mut command).ok();
            for host in allowed {
                until("the replicas are where they should be", || {
                    let filter = format!("label=com.docker.swarm.service.name={app}");
                    let listed = run(&mut host.docker(&["ps", "--quiet", "--filter", &filter]));
                    (listed.stdout.lines().count() == 1).then_some(())
                });
            }
            self.set_availability(&others, "active");
        }
    }

    /// Where a service answers on the nodes that run a replica of it.
    pub fn port(&self, app: &str) -> u16 {
        self.ports[app]
    }

    fn set_availability(&self, hosts: &[&Host], availability: &str) {
        for host in hosts {
            let update = ["node", "update", "--availability", availability, &self.ids[&host.name]];
            run(&mut self.hosts[0].docker(&update)).ok();
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        for host in &self.hosts {
            // One that is off leaves when it is back, or is removed with its lab.
            run(&mut host.docker(&["swarm", "leave", "--force"]));
        }
    }
}
