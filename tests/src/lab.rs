//! Three hosts on one machine: network namespaces on a bridge, each with an address, a Docker Engine and a cluster node of its own.
//!
//! ```text
//!   this machine ── bridge 10.77.N.1 ──┬── n1 10.77.N.11   dockerd, etcd, all parts
//!      (NAT to the outside)            ├── n2 10.77.N.12
//!                                      └── n3 10.77.N.13
//! ```
//!
//! What a lab made is written down in `/run/trireme-lab` before it is made, so that [`Lab::clear`] finds it after a crash. A
//! host's processes are those in its namespace and their children; nothing else is ever ended.

mod host;
mod network;
mod parts;
mod processes;
mod temporary;
mod watch;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use host::Host;
pub use temporary::TemporaryLab;
pub use watch::Watch;

/// Where labs are written down; gone with a reboot, as are their namespaces.
const RECORDS: &str = "/run/trireme-lab";
/// The image apps are built on.
const STACK_IMAGE: &str = "trireme/stack:12";
/// How long anything in a lab may take.
const DEADLINE: Duration = Duration::from_secs(90);
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// The most hosts of one lab.
const MAX_NODES: u8 = 9;

/// A lab, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lab {
    /// Its number: the third part of its addresses. Two labs of one number are one lab.
    pub number: u8,
    /// Its hosts: n1, n2, ...
    pub nodes: u8,
    /// Everything of it.
    pub data: PathBuf,
    /// The folder of our programs.
    pub programs: PathBuf,
}

impl Lab {
    /// Makes hosts and a cluster of them. What an earlier lab of the number left is cleared first.
    pub fn up(lab: Lab) -> Result<Lab> {
        let lab = Lab::bare(lab)?;
        let hosts = lab.hosts();
        hosts[0].init()?;
        // One after the other: etcd takes one learner at a time.
        for host in &hosts[1..] {
            host.join(&hosts[0].token()?)?;
        }
        lab.wait_until_whole()?;
        Ok(lab)
    }

    /// Makes hosts with an engine each, and no cluster.
    pub fn bare(lab: Lab) -> Result<Lab> {
        if !(1..=MAX_NODES).contains(&lab.nodes) {
            bail!("make a lab of {} nodes: 1 to {MAX_NODES} are possible", lab.nodes);
        }
        lab.clear()?;
        lab.write_down()?;
        network::make_bridge(&lab)?;
        std::fs::create_dir_all(&lab.data)?;
        let image = lab.data.join("stack.tar");
        done(Command::new("docker").args(["save", "--output"]).arg(&image).arg(STACK_IMAGE))?;
        let hosts = lab.hosts();
        together(&hosts, |host| {
            host.make()?;
            host.start_docker()?;
            host.load(&image)
        })?;
        std::fs::remove_file(&image)?;
        Ok(lab)
    }

    /// The lab of a number that was made earlier.
    pub fn open(number: u8) -> Result<Lab> {
        let path = record(number);
        let text = std::fs::read(&path)
            .with_context(|| format!("find lab {number}; `cargo xtask lab up` makes one"))?;
        serde_json::from_slice(&text).with_context(|| format!("understand `{}`", path.display()))
    }

    /// Ends and removes everything of the lab, in whatever state it is.
    pub fn down(&self) -> Result<()> {
        self.clear()
    }

    /// Its hosts.
    pub fn hosts(&self) -> Vec<Host> {
        (1..=self.nodes).map(|place| Host::new(self, place)).collect()
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> Result<Host> {
        let found = self.hosts().into_iter().find(|host| host.name == name);
        found.with_context(|| format!("find host `{name}`: there are n1 to n{}", self.nodes))
    }

    /// Waits until every host sees every node ready.
    pub fn wait_until_whole(&self) -> Result<()> {
        until("every node is ready for every other", || {
            self.hosts().iter().all(|host| host.ready_nodes() == usize::from(self.nodes))
        })
    }

    /// The host whose controller leads.
    pub fn leader(&self) -> Result<Host> {
        self.the_one("whose controller leads", Host::leads)
    }

    /// The host whose member leads the store.
    pub fn store_leader(&self) -> Result<Host> {
        self.the_one("whose member leads the store", Host::leads_the_store)
    }

    fn the_one(&self, what: &str, is_it: impl Fn(&Host) -> bool) -> Result<Host> {
        let mut found = Vec::new();
        until(&format!("there is one host {what}"), || {
            found = self.hosts();
            found.retain(&is_it);
            found.len() == 1
        })?;
        Ok(found.remove(0))
    }

    /// The address of a host; 1 is n1.
    fn address(&self, place: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 10 + place)
    }

    fn write_down(&self) -> Result<()> {
        std::fs::create_dir_all(RECORDS)?;
        Ok(std::fs::write(record(self.number), serde_json::to_vec(self)?)?)
    }

    fn clear(&self) -> Result<()> {
        let path = record(self.number);
        let Some(known) = std::fs::read(&path).ok().and_then(|it| serde_json::from_slice(&it).ok())
        else {
            return Ok(());
        };
        let known: Lab = known;
        together(&known.hosts(), |host| host.remove())?;
        network::remove_bridge(&known)?;
        for host in known.hosts() {
            host.remove_files()?;
        }
        // Only if nothing else was put there.
        let _ = std::fs::remove_dir(&known.data);
        Ok(std::fs::remove_file(path)?)
    }
}

fn record(number: u8) -> PathBuf {
    Path::new(RECORDS).join(format!("{number}.json"))
}

/// Does the same on all hosts at once.
fn together(hosts: &[Host], work: impl Fn(&Host) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = hosts
            .iter()
            .map(|host| {
                let work = &work;
                scope.spawn(move || work(host).with_context(|| format!("host {}", host.name)))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Asks again until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > DEADLINE {
            bail!("wait {DEADLINE:?} until {what}");
        }
        std::thread::sleep(LOOK_PERIOD);
    }
    Ok(())
}

/// Runs a command to a good end; gives what it printed.
fn done(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let (out, err) = (&output.stdout, &output.stderr);
        let said = [String::from_utf8_lossy(out), String::from_utf8_lossy(err)].concat();
        bail!("run {command:?}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
