//! Three nodes are given newer programs, and then new certificates, one node after the other and under load: no request fails, no unit is
//! touched, changes are taken throughout.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tests::lab::{Host, TemporaryLab, Watch};
use tests::{DEMO, Load, Person, Repository, programs, run, step, until};

/// Of this test alone.
const NUMBER: u8 = 48;
const HOST: &str = "shop.apps.localhost";
/// The exclusive process, as no other process of the machine is called.
const CLOCK: [&str; 3] = ["python3", "clock.py", "lab-48"];
const PROCFILE: &str = "web: python3 server.py\nclock: python3 clock.py lab-48\n";
const FILES: [(&str, &str); 3] =
    [("Procfile", PROCFILE), DEMO[1], ("clock.py", include_str!("../fixtures/clock.py"))];
const PATHS: [&str; 3] = ["/", "/slow?ms=300", "/slow?ms=3000"];

/// Every door of a node behind which a certificate is, and the file it is read from.
const DOORS: [(u16, &str); 8] = [
    (7400, "identity/controller/cert.pem"),
    (7401, "identity/agent/cert.pem"),
    (7402, "identity/logger/cert.pem"),
    (7403, "identity/registry-proxy/cert.pem"),
    (7404, "etcd/client/cert.pem"),
    (7405, "etcd/peer/cert.pem"),
    (8000, "identity/api/cert.pem"),
    (443, "router/platform/chain.pem"),
];

#[test]
fn newer_programs_and_new_certificates_cost_no_request_and_no_unit() {
    let lab = TemporaryLab::up(NUMBER);
    let hosts = lab.hosts();
    let newer = lab.data.join("newer");
    programs::place_newer(&lab.programs, &newer).unwrap();
    let people = Person::everywhere(&hosts, "olga");
    let shop = Repository::deployed(&people[0], "shop", &FILES);
    shop.paasctl(&people[0], &["exclusive:on", "clock"]).ok();
    shop.paasctl(&people[0], &["scale", "web=2", "clock=1"]).ok();
    let story = Story { lab, hosts: &hosts, people: &people, clock: Watch::start(&CLOCK) };
    story.settle();

    story.under_load("newer programs, node by node", || {
        story.takes_changes("before");
        // The one that leads is neither the first nor the last.
        let leader = story.lab.leader().unwrap().name;
        let mut order: Vec<&Host> = hosts.iter().filter(|host| host.name != leader).collect();
        order.insert(1, hosts.iter().find(|host| host.name == leader).unwrap());
        for host in order {
            story.upgrade(host, &newer);
            story.takes_changes(&host.name);
        }
    });
    story.under_load("new certificates, node by node", || {
        for host in &hosts {
            rotate(host);
            story.takes_changes(&format!("rotated-{}", host.name));
        }
    });
    story.under_load("every connection is opened anew", || {
        for host in &hosts {
            for program in ["etcd", "controller"] {
                let killed = host.signal(program, "-KILL");
                until("it runs again", || host.pid(program).filter(|pid| *pid != killed));
            }
            story.settle();
        }
        story.takes_changes("anew");
    });
    assert_eq!(story.clock.most(), 1, "the exclusive process never ran twice at once");

    step("a push passes through all of it");
    let loads = story.loads();
    shop.commit(&[("version.txt", "2")]);
    shop.push(&people[0], "master").ok().says("deployed");
    loads.into_iter().for_each(Load::saw_no_failure);

    step("a node that is lost is in the way of an upgrade");
    hosts[2].power_off().unwrap();
    until("it is seen as lost", || {
        let checked = run(&mut hosts[0].clusterctl(&["upgrade", "--check"]));
        (checked.code == Some(1) && checked.stderr.contains("node `n3` is lost")).then_some(())
    });
}

struct Story<'a> {
    lab: TemporaryLab,
    hosts: &'a [Host],
    people: &'a [Person<'a>],
    clock: Watch,
}

impl Story<'_> {
    /// Something is done under load at all routers, after which the units that serve are still the same.
    fn under_load(&self, what: &str, work: impl FnOnce()) {
        step(what);
        let (before, loads, began) = (self.web(), self.loads(), Instant::now());
        work();
        self.settle();
        step(&format!("done after {:.1?}", began.elapsed()));
        assert_eq!(self.web(), before, "no unit was touched");
        loads.into_iter().for_each(Load::saw_no_failure);
    }

    fn upgrade(&self, host: &Host, newer: &Path) {
        let from = ["upgrade", "--from", newer.to_str().unwrap()];
        let check = run(&mut host.clusterctl(&[&from[..], &["--check"]].concat())).ok();
        check.says("another build of the same version").says("This node can be upgraded.");
        let before: Vec<_> = PROGRAMS.iter().map(|program| host.pid(program)).collect();
        let began = Instant::now();
        run(&mut host.clusterctl(&from)).ok().says(&format!("{} is upgraded.", host.name));
        step(&format!("{} is upgraded after {:.1?}", host.name, began.elapsed()));
        for (program, before) in PROGRAMS.iter().zip(before) {
            assert_ne!(host.pid(program), before, "{program}");
        }
        run(&mut host.clusterctl(&from)).ok().says("has these programs");
        self.settle();
    }

    /// Every node takes one, and every router follows it.
    fn takes_changes(&self, when: &str) {
        for (host, olga) in self.hosts.iter().zip(self.people) {
            let domain = format!("{when}-{}.example.com", host.name);
            olga.does(&["domains:add", &domain, "-a", "shop"]).ok();
            for router in self.hosts {
                until("the router knows the domain", || {
                    (router.get(&domain, "/").0 == 200).then_some(())
                });
            }
        }
    }

    /// Waits until all is well everywhere, and the exclusive process runs.
    fn settle(&self) {
        until("all is well everywhere", || {
            let is_well = |host: &Host| {
                host.ready_nodes() == self.hosts.len()
                    && run(&mut host.clusterctl(&["status"])).code == Some(0)
            };
            (self.hosts.iter().all(is_well) && self.clock.now() == 1).then_some(())
        });
    }

    /// Containers of units that serve: host and id.
    fn web(&self) -> BTreeSet<(String, String)> {
        let of = |host: &Host| {
            let name = host.name.clone();
            let units = host.units("shop").into_iter().filter(|(_, process)| process == "web");
            units.map(move |(id, _)| (name.clone(), id))
        };
        let web: BTreeSet<_> = self.hosts.iter().flat_map(of).collect();
        assert_eq!(web.len(), 2, "{web:?}");
        web
    }

    fn loads(&self) -> Vec<Load> {
        self.hosts.iter().map(|host| Load::at(host.router(), HOST, &PATHS)).collect()
    }
}

const PROGRAMS: [&str; 6] =
    ["logger", "registry-proxy", "controller", "agent", "router", "builder"];

/// Rotates a node's certificates; what it shows at its doors afterwards is what lies in its files, and nothing of before.
fn rotate(host: &Host) {
    let before = DOORS.map(|(port, _)| served(host, port));
    run(&mut host.clusterctl(&["certs:rotate"])).ok();
    for ((port, file), before) in DOORS.iter().zip(before) {
        let text = std::fs::read_to_string(host.data().join(file)).unwrap();
        assert_ne!(certificate(&text), before, "{file} of {} is a new one", host.name);
        until(&format!("{port} of {} shows {file}", host.name), || {
            (served(host, *port) == certificate(&text)).then_some(())
        });
    }
    run(&mut host.clusterctl(&["certs"])).ok();
}

/// The certificate behind a door.
fn served(host: &Host, port: u16) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-servername", HOST, "-connect"]);
    let said = run(openssl.arg(format!("{}:{port}", host.address))).stdout;
    certificate(&said)
}

/// The first certificate of a text.
fn certificate(text: &str) -> String {
    let (_, text) = text.split_once("-----BEGIN CERTIFICATE-----").unwrap_or_default();
    let (body, _) = text.split_once("-----END CERTIFICATE-----").unwrap_or_default();
    assert!(!body.is_empty(), "there is a certificate");
    body.split_whitespace().collect()
}
