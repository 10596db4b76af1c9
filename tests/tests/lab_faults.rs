//! Parts die, freeze and are cut off while all machines live: no unit is touched that need not be, and no request fails.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::lab::{Host, TemporaryLab, Watch};
use tests::{DEMO, Load, Person, Repository, rows, run, step, until};

/// Of this test alone.
const NUMBER: u8 = 43;
const HOST: &str = "shop.apps.localhost";
/// The exclusive process, as no other process of the machine is called.
const CLOCK: [&str; 3] = ["python3", "clock.py", "lab-43"];
const PROCFILE: &str = "web: python3 server.py\nclock: python3 clock.py lab-43\n";
const FILES: [(&str, &str); 3] =
    [("Procfile", PROCFILE), DEMO[1], ("clock.py", include_str!("../fixtures/clock.py"))];
const PATHS: [&str; 2] = ["/", "/slow?ms=300"];

/// How long a part is frozen.
const FROZEN: Duration = Duration::from_secs(20);
/// How long after the loss of the leading controller or member changes may be refused, on a busy machine.
const WRITABLE_WITHIN: Duration = Duration::from_secs(10);
const LED_WITHIN: Duration = Duration::from_secs(10);
const AGENT_BACK_WITHIN: Duration = Duration::from_secs(8);
/// An exclusive unit that is cut off ends itself.
const FENCED_WITHIN: Duration = Duration::from_secs(9);
const REPLACED_WITHIN: Duration = Duration::from_secs(20);
/// A node that others see is not lost before.
const NOT_YET_ELSEWHERE: Duration = Duration::from_secs(30);
/// What a slow cable carries, and for how long nothing may come of it.
const SLOW_KILOBITS: u32 = 256;
const SLOW_FOR: Duration = Duration::from_secs(30);

#[test]
fn faults_of_parts_touch_no_unit() {
    let lab = TemporaryLab::up(NUMBER);
    let hosts = lab.hosts();
    let people = Person::everywhere(&hosts, "olga");
    let shop = Repository::deployed(&people[0], "shop", &FILES);
    shop.paasctl(&people[0], &["exclusive:on", "clock"]).ok();
    shop.paasctl(&people[0], &["scale", "web=3", "clock=1"]).ok();
    let story = Story { lab, hosts: &hosts, people: &people, clock: Watch::start(&CLOCK) };
    story.settle("deployed");

    story.untouched("the store's leading member is killed", || {
        let leader = story.lab.store_leader().unwrap();
        leader.signal("etcd", "-KILL");
        story.takes_a_change(&leader, "killed");
    });
    story.untouched("the store's leading member is frozen", || {
        let leader = story.lab.store_leader().unwrap();
        story.frozen(&leader, "etcd");
    });
    story.untouched("the leading controller is frozen", || {
        let leader = story.lab.leader().unwrap();
        story.frozen(&leader, "controller");
        // Thawed, it knows that it leads no more.
        assert_ne!(story.lab.leader().unwrap().name, leader.name);
    });
    story.untouched("an agent is killed", || {
        // One that was just started ends the exclusive units it finds.
        let host = hosts.iter().find(|host| !story.has_clock(host)).unwrap();
        let killed = host.signal("agent", "-KILL");
        let began = Instant::now();
        until("it runs again", || host.pid("agent").filter(|pid| *pid != killed));
        until("all is well there", || {
            (run(&mut host.clusterctl(&["status"])).code == Some(0)).then_some(())
        });
        assert!(began.elapsed() < AGENT_BACK_WITHIN, "{:?}", began.elapsed());
    });
    story.hangs();
    story.untouched("a cable is slow", || {
        hosts[2].slow(SLOW_KILOBITS).unwrap();
        let began = Instant::now();
        while began.elapsed() < SLOW_FOR {
            assert!(!story.is_any_lost(&hosts[2]), "{} only is slow", hosts[2].name);
        }
        hosts[2].heal().unwrap();
    });
    story.docker_restarts(&hosts[1]);
    story.cut();
    assert_eq!(story.clock.most(), 1, "the exclusive process never ran twice at once");
}

struct Story<'a> {
    lab: TemporaryLab,
    hosts: &'a [Host],
    people: &'a [Person<'a>],
    clock: Watch,
}

impl Story<'_> {
    /// A fault under load at all routers, after which every container is still the same.
    fn untouched(&self, what: &str, fault: impl FnOnce()) {
        step(what);
        let (before, loads) = (self.units(self.hosts), self.loads(self.hosts));
        let began = Instant::now();
        fault();
        self.settle("the fault is over");
        step(&format!("all was well after {:.1?}", began.elapsed()));
        assert_eq!(self.units(self.hosts), before, "no unit was touched");
        loads.into_iter().for_each(Load::saw_no_failure);
    }

    fn frozen(&self, host: &Host, program: &str) {
        let pid = host.signal(program, "-STOP").to_string();
        let began = Instant::now();
        self.takes_a_change(host, &format!("frozen-{program}"));
        self.lab.leader().unwrap();
        step(&format!("a controller led after {:.1?}", began.elapsed()));
        assert!(began.elapsed() < LED_WITHIN, "{:?}", began.elapsed());
        while began.elapsed() < FROZEN {
            assert!(!self.is_any_lost(host), "no node is lost by it");
        }
        run(std::process::Command::new("kill").args(["-CONT", &pid])).ok();
    }

    /// An agent that hangs cannot end the exclusive unit it runs; whoever looks after it does, before it starts elsewhere.
    fn hangs(&self) {
        step("an agent that runs an exclusive unit hangs");
        let host = self.hosts.iter().find(|host| self.has_clock(host)).unwrap();
        let is_web = |unit: &(String, String, String)| unit.2 == "web";
        let web = || self.units(self.hosts).into_iter().filter(is_web).collect::<BTreeSet<_>>();
        let (before, loads) = (web(), self.loads(self.hosts));
        let hung = host.signal("agent", "-STOP");
        let began = Instant::now();
        until("another runs", || host.pid("agent").filter(|pid| *pid != hung));
        step(&format!("it was started again after {:.1?}", began.elapsed()));
        assert!(began.elapsed() < NOT_YET_ELSEWHERE, "{:?}", began.elapsed());
        self.settle("the agent is back");
        assert_eq!(web(), before, "no other unit was touched");
        loads.into_iter().for_each(Load::saw_no_failure);
    }

    /// Scenario 7: only that node's units bounce.
    fn docker_restarts(&self, host: &Host) {
        step("a Docker Engine restarts");
        let others: Vec<Host> = self.others(host);
        let (before, loads) = (self.units(&others), self.loads(self.hosts));
        host.restart_docker().unwrap();
        self.settle("the engine is back");
        assert!(before.is_subset(&self.units(&others)), "no unit of another node was touched");
        loads.into_iter().for_each(Load::saw_no_failure);
    }

    /// Scenario 9, with the exclusive unit on the wrong side.
    fn cut(&self) {
        let cut = self.hosts.iter().find(|host| self.has_clock(host)).unwrap();
        let others = self.others(cut);
        let before = self.units(&others);
        step(&format!("{}, which runs the exclusive unit, is cut off", cut.name));
        let loads = self.loads(&others);
        let began = Instant::now();
        cut.cut().unwrap();
        until("the exclusive unit ends itself", || (!self.has_clock(cut)).then_some(()));
        assert!(began.elapsed() < FENCED_WITHIN, "{:?}", began.elapsed());
        until("the others run everything", || self.runs_on(&others).then_some(()));
        assert!(began.elapsed() < REPLACED_WITHIN, "{:?}", began.elapsed());
        assert!(before.is_subset(&self.units(&others)), "the others' units were left alone");
        let kept: Vec<String> = cut.units("shop").into_iter().map(|(_, process)| process).collect();
        assert_eq!(kept, ["web"], "what may run twice runs on");

        step("and connected again");
        cut.heal().unwrap();
        self.settle("the cable is in again");
        loads.into_iter().for_each(Load::saw_no_failure);
    }

    /// Which one of the others takes, whatever is wrong with this host.
    fn takes_a_change(&self, but: &Host, fault: &str) {
        let began = Instant::now();
        let label = format!("fault={fault}");
        let change = ["nodes:label", &but.name, &label];
        until("a change is taken", || {
            let is_taken = |host: &Host| run(&mut host.clusterctl(&change)).code == Some(0);
            self.others(but).iter().any(is_taken).then_some(())
        });
        step(&format!("a change was taken after {:.1?}", began.elapsed()));
        assert!(began.elapsed() < WRITABLE_WITHIN, "{:?}", began.elapsed());
    }

    /// Whether any node is lost in the eyes of another one than this.
    fn is_any_lost(&self, but: &Host) -> bool {
        let nodes = run(&mut self.others(but)[0].clusterctl(&["nodes", "--json"])).stdout;
        let Ok(nodes) = serde_json::from_str::<Value>(&nodes) else { return false };
        rows(&nodes).iter().any(|node| node["state"] == "lost")
    }

    /// Waits until all hosts are ready, and run exactly what is wanted.
    fn settle(&self, when: &str) {
        until(&format!("{when}: nodes are ready and units are as wanted"), || {
            let is_ready = |host: &Host| host.ready_nodes() == self.hosts.len();
            (self.hosts.iter().all(is_ready) && self.runs_on(self.hosts)).then_some(())
        });
    }

    fn runs_on(&self, hosts: &[Host]) -> bool {
        let mut types: Vec<String> =
            self.units(hosts).into_iter().map(|(_, _, process)| process).collect();
        types.sort();
        let all_ready = || {
            let ps = self.at(&hosts[0]).does(&["ps", "-a", "shop", "--json"]).stdout;
            let Ok(told) = serde_json::from_str::<Value>(&ps) else { return false };
            let is_here = |unit: &&Value| hosts.iter().any(|it| unit["node"] == it.name.as_str());
            let mut units = rows(&told["units"]).iter().filter(is_here);
            units.clone().count() == 4 && units.all(|unit| unit["state"] == "ready")
        };
        types == ["clock", "web", "web", "web"] && self.clock.now() == 1 && all_ready()
    }

    /// Containers: host, id, type.
    fn units(&self, hosts: &[Host]) -> BTreeSet<(String, String, String)> {
        let of = |host: &Host| {
            let name = host.name.clone();
            host.units("shop").into_iter().map(move |(id, process)| (name.clone(), id, process))
        };
        hosts.iter().flat_map(of).collect()
    }

    fn has_clock(&self, host: &Host) -> bool {
        host.units("shop").iter().any(|(_, process)| process == "clock")
    }

    fn at(&self, host: &Host) -> &Person<'_> {
        let place = self.hosts.iter().position(|other| other.name == host.name).unwrap();
        &self.people[place]
    }

    fn others(&self, than: &Host) -> Vec<Host> {
        self.hosts.iter().filter(|host| host.name != than.name).cloned().collect()
    }

    fn loads(&self, hosts: &[Host]) -> Vec<Load> {
        hosts.iter().map(|host| Load::at(host.router(), HOST, &PATHS)).collect()
    }
}
