//! How long an app misses a unit when a node is lost, and what its visitors notice: ours and Docker Swarm on the same three
//! hosts, with equal replicas of the same program, hit by the same fault.

mod eyes;
mod swarm;

use std::time::Duration;

use super::{Figure, progress};
use crate::lab::{Host, TemporaryLab};
use crate::load::Seen;
use crate::{Load, Person, Repository, run, until};

use eyes::{Eyes, Strike, Target};
use swarm::Swarm;

/// Of this benchmark alone.
const NUMBER: u8 = 44;
/// What did not happen after this long counts as this long.
const PATIENCE: Duration = Duration::from_secs(130);
const PROGRAM: &str = include_str!("../../fixtures/name.py");
const FILES: [(&str, &str); 2] = [("Procfile", "web: python3 name.py\n"), ("name.py", PROGRAM)];
/// An app of two units, and one of a single unit.
const APPS: [(&str, usize); 2] = [("pair", 2), ("solo", 1)];

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Every process dies and the cable is dead.
    PowerOff,
    /// The cable is pulled.
    Cut,
}

/// To which node it happens.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// One that leads nothing.
    Worker,
    /// The one that leads, of ours and of Swarm.
    Leader,
}

/// Measures and prints.
pub fn run_all() {
    progress("three hosts, a cluster of them, two apps on all of them");
    let lab = TemporaryLab::up(NUMBER);
    let hosts = lab.hosts();
    let people = Person::everywhere(&hosts, "olga");
    let bench = Bench { lab, hosts: &hosts, people: &people };
    bench.deploy();
    for victim in [Victim::Worker, Victim::Leader] {
        for fault in [Fault::PowerOff, Fault::Cut] {
            bench.measure(victim, fault);
        }
    }
}

struct Bench<'a> {
    lab: TemporaryLab,
    hosts: &'a [Host],
    people: &'a [Person<'a>],
}

impl Bench<'_> {
    /// Once on every node, so that every node has the images.
    fn deploy(&self) {
        let olga = &self.people[0];
        for (app, _) in APPS {
            Repository::deployed(olga, app, &FILES);
            olga.does(&["scale", "-a", app, "web=3"]).ok();
        }
    }

    fn measure(&self, victim: Victim, fault: Fault) {
        self.lab.wait_until_whole().expect("the lab is whole");
        let leader = self.lab.leader().expect("one leads");
        let workers: Vec<Host> =
            self.hosts.iter().filter(|host| host.name != leader.name).cloned().collect();
        let (lost, left) = match victim {
            Victim::Worker => (&workers[0], [&leader, &workers[1]]),
            Victim::Leader => (&leader, [&workers[0], &workers[1]]),
        };
        progress(&format!("{victim:?}, {fault:?}: {} is the victim", lost.name));
        self.place(lost, left[0]);
        let mut swarm = Swarm::start(&leader, &workers);
        swarm.place(lost, left[0], &APPS);

        let eyes = look(left, &swarm);
        let load = Load::at(left[0].router(), "pair.apps.localhost", &["/", "/", "/", "/"]);
        // Units of the victim are seen through our router; replicas of Swarm's on their own node alone.
        until("everything is seen", || {
            let expected = [2, 1, 1, 0].iter().zip(&eyes);
            expected.into_iter().all(|(count, eyes)| eyes.seen() >= *count).then_some(())
        });
        let strikes: Vec<Strike> = eyes.iter().map(Eyes::strike).collect();
        match fault {
            Fault::PowerOff => lost.power_off().expect("the power goes off"),
            Fault::Cut => lost.cut().expect("the cable is pulled"),
        }
        let took: Vec<Option<Duration>> =
            strikes.into_iter().map(|strike| strike.replaced_within(PATIENCE)).collect();
        print(&format!("failover, {victim:?}, {fault:?}").to_lowercase(), &took, &load.stop());
        match fault {
            Fault::PowerOff => lost.start().expect("the host starts"),
            Fault::Cut => lost.heal().expect("the cable is put in"),
        }
        // Only now: the lost host leaves it as well.
        drop(swarm);
    }

    /// Two units on the victim and another node, one on the victim.
    fn place(&self, lost: &Host, other: &Host) {
        let olga = &self.people[0];
        let duty = |host: &Host, duty: &str| {
            run(&mut self.hosts[0].clusterctl(&[duty, &host.name])).ok();
        };
        for (app, units) in APPS {
            let allowed = [lost, other];
            let is_allowed = |host: &&Host| allowed[..units].iter().any(|it| it.name == host.name);
            let others: Vec<&Host> = self.hosts.iter().filter(|host| !is_allowed(host)).collect();
            others.iter().for_each(|host| duty(host, "cordon"));
            // From none: what is there already has a say in where others go.
            for count in [0, units] {
                olga.does(&["scale", "-a", app, &format!("web={count}")]).ok();
            }
            others.iter().for_each(|host| duty(host, "uncordon"));
            for host in allowed[..units].iter() {
                until("the units are where they should be", || {
                    (host.units(app).len() == 1).then_some(())
                });
            }
        }
    }
}

/// Looks at our apps through one router, and at Swarm's on every node that is left.
fn look(left: [&Host; 2], swarm: &Swarm) -> Vec<Eyes> {
    let ours = APPS.map(|(app, _)| Target {
        addresses: vec![left[0].router()],
        host: format!("{app}.apps.localhost"),
    });
    let theirs = APPS.map(|(app, _)| Target {
        addresses: left.iter().map(|host| (host.address, swarm.port(app)).into()).collect(),
        host: app.to_owned(),
    });
    ours.into_iter().chain(theirs).map(Eyes::open).collect()
}

/// Prints how long each app waited, ours first, and what visitors of ours saw.
fn print(what: &str, took: &[Option<Duration>], seen: &Seen) {
    let (ours, theirs) = took.split_at(APPS.len());
    for ((_, units), (ours, theirs)) in APPS.iter().zip(ours.iter().zip(theirs)) {
        let late =
            if theirs.is_none() { format!(": not within {PATIENCE:?}") } else { String::new() };
        let peer = format!("Docker Swarm, {units} replicas{late}");
        let late = if ours.is_none() { " (not within the time)" } else { "" };
        Figure {
            bench: &format!("{what}: until a replacement serves, app of {units}{late}"),
            unit: "s",
            ours: ours.unwrap_or(PATIENCE).as_secs_f64(),
            peer: Some((&peer, theirs.unwrap_or(PATIENCE).as_secs_f64())),
        }
        .print();
    }
    Figure {
        bench: &format!("{what}: failed of {} requests, app of 2", seen.answered + seen.failed),
        unit: "requests",
        ours: seen.failed as f64,
        peer: None,
    }
    .print();
    seen.failures.iter().for_each(|failure| progress(failure));
}
