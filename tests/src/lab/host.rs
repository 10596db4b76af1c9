//! One host of a lab: its namespace, its Docker Engine, its node of the cluster, and what can be done to it.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Lab, done, network, processes, until};
use crate::command::{Output, run};
use crate::person::Platform;
use crate::programs;

/// How large a host's disk seems; only what is written takes space.
const DISK_BYTES: u64 = 10 << 30;

/// A host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name, and its node's: `n1`.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    pub(super) namespace: String,
    pub(super) cable: String,
    folder: PathBuf,
    lab: Lab,
}

impl Host {
    pub(super) fn new(lab: &Lab, place: u8) -> Host {
        let name = format!("n{place}");
        Host {
            address: lab.address(place),
            namespace: format!("tri-lab-{}-{name}", lab.number),
            cable: format!("trilab{}n{place}", lab.number),
            folder: lab.data.join(&name),
            name,
            lab: lab.clone(),
        }
    }

    /// A command that runs on this host.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace_file().display())).arg(program.as_ref());
        command
    }

    /// `clusterctl ARGUMENTS` on this host.
    pub fn clusterctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.programs().join("clusterctl"));
        command.args(arguments).arg("--data").arg(self.data());
        command
    }

    /// `docker ARGUMENTS` with this host's engine.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.socket().display())).args(arguments);
        command
    }

    /// The node's data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of its programs: upgraded, they differ from other hosts'.
    pub fn programs(&self) -> PathBuf {
        self.folder.with_extension("programs")
    }

    /// The authority to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Where `paasctl` finds this node's API.
    pub fn api(&self) -> String {
        format!("https://{}:8000", self.address)
    }

    /// Whether anything of it runs.
    pub fn is_on(&self) -> bool {
        !processes::of(self).is_empty()
    }

    /// How many nodes are ready in the eyes of this one.
    pub fn ready_nodes(&self) -> usize {
        let output = self.clusterctl(&["nodes", "--json"]).output();
        let answer = output
            .ok()
            .and_then(|output| serde_json::from_slice::<serde_json::Value>(&output.stdout).ok());
        let nodes = answer.and_then(|nodes| nodes.as_array().cloned()).unwrap_or_default();
        nodes.iter().filter(|node| node["state"] == "ready").count()
    }

    /// Ends every process at once; the network goes on answering that nothing listens.
    pub fn kill(&self) -> Result<()> {
        processes::kill(self)?;
        self.unmount()
    }

    /// As a power cut: the cable is dead and every process gone.
    pub fn power_off(&self) -> Result<()> {
        network::set_cable(self, false)?;
        self.kill()
    }

    /// Power and cable again, and the engine; the node does not start.
    pub fn boot(&self) -> Result<()> {
        network::set_cable(self, true)?;
        if self.docker(&["version"]).output().is_ok_and(|output| output.status.success()) {
            return Ok(());
        }
        self.start_docker()
    }

    /// Power and cable again: the engine and the node start as at a boot.
    pub fn start(&self) -> Result<()> {
        self.boot()?;
        done(&mut self.clusterctl(&["up"])).map(|_| ())
    }

    /// Pulls the cable.
    pub fn cut(&self) -> Result<()> {
        network::set_cable(self, false)
    }

    /// Puts the cable in again, and takes any slowness from it.
    pub fn heal(&self) -> Result<()> {
        network::set_cable(self, true)?;
        network::set_rate(self, None)
    }

    /// Lets no more than this through the cable.
    pub fn slow(&self, kilobits: u32) -> Result<()> {
        network::set_rate(self, Some(kilobits))
    }

    pub(super) fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.namespace)
    }

    pub(super) fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        programs::place(&self.lab.programs, &self.programs())?;
        let disk = File::create(self.disk())?;
        disk.set_len(DISK_BYTES)?;
        done(Command::new("mkfs.ext4").args(["-q", "-E", "nodiscard"]).arg(self.disk()))?;
        let options = ["-o", "loop,noatime"];
        done(Command::new("mount").args(options).arg(self.disk()).arg(&self.folder))?;
        network::make_host(&self.lab, self)
    }

    pub(super) fn start_docker(&self) -> Result<()> {
        let log =
            File::options().create(true).append(true).open(self.folder.join("dockerd.log"))?;
        // What a killed one left would be taken for a running one.
        for stale in [self.folder.join("docker.pid"), self.socket()] {
            let _ = fs::remove_file(stale);
        }
        let _ = fs::remove_dir_all(self.run_folder());
        let mut command = self.command("dockerd");
        command
            .arg("--data-root")
            .arg(self.folder.join("docker"))
            .arg("--exec-root")
            .arg(self.run_folder())
            .arg("--pidfile")
            .arg(self.folder.join("docker.pid"))
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .args(["--bip", "172.30.0.1/24"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let mut child = command.spawn().context("start dockerd")?;
        until("the Docker Engine answers", || {
            self.docker(&["version"]).output().is_ok_and(|output| output.status.success())
                || child.try_wait().is_ok_and(|ended| ended.is_some())
        })?;
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!(
                "start dockerd: it ended with {status}; see `{}`",
                self.folder.join("dockerd.log").display()
            ),
        }
    }

    /// Ends the engine, and its containers with it, as a service manager does, and starts it again.
    pub fn restart_docker(&self) -> Result<()> {
        let pid = fs::read_to_string(self.folder.join("docker.pid"))?.trim().to_owned();
        done(Command::new("kill").args(["-TERM", &pid]))?;
        until("the Docker Engine has ended", || {
            !fs::read(Path::new("/proc").join(&pid).join("cmdline")).is_ok_and(|it| !it.is_empty())
        })?;
        self.start_docker()
    }

    pub(super) fn load(&self, image: &Path) -> Result<()> {
        done(self.docker(&["load", "--input"]).arg(image)).map(|_| ())
    }

    pub(super) fn init(&self) -> Result<()> {
        let address = self.address.to_string();
        let mut command =
            self.clusterctl(&["init", "--address", &address, "--cluster-name", "lab"]);
        done(self.machine(&mut command)).map(|_| ())
    }

    /// `clusterctl up --demo`: a cluster of this host alone, with the app `demo`.
    pub fn up_alone(&self) -> Result<()> {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
        let mut command = self.clusterctl(&["up"]);
        command.env("TRIREME_HOME", self.scratch()).arg("--demo").arg(demo);
        done(self.machine(&mut command)).map(|_| ())
    }

    /// What lets one machine join.
    pub fn token(&self) -> Result<String> {
        let made = done(&mut self.clusterctl(&["token:create", "--json"]))?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        Ok(made["token"].as_str().context("read the token")?.to_owned())
    }

    /// `clusterctl join` with what another node printed.
    pub fn join(&self, token: &str) -> Result<()> {
        let address = self.address.to_string();
        let mut command = self.clusterctl(&["join", "--address", &address, "--token", token]);
        done(self.machine(&mut command)).map(|_| ())
    }

    /// `clusterctl restore` of a file.
    pub fn restore(&self, file: &Path) -> Output {
        let address = self.address.to_string();
        let mut command = self.clusterctl(&["restore", "--address", &address]);
        run(self.machine(command.arg(file)))
    }

    fn machine<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.args(["--node", &self.name, "--docker-socket"]).arg(self.socket());
        command.arg("--ca-out").arg(self.ca_file())
    }

    pub(super) fn remove(&self) -> Result<()> {
        processes::kill(self)?;
        self.unmount()?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let folder = self.folder.to_string_lossy();
        if mounts.lines().any(|line| line.split(' ').nth(1) == Some(&folder)) {
            done(Command::new("umount").arg(&self.folder))?;
        }
        network::remove_host(self)
    }

    pub(super) fn remove_files(&self) -> Result<()> {
        let _ = fs::remove_file(self.disk());
        for folder in [&self.folder, &self.programs(), &self.run_folder()] {
            if folder.exists() {
                fs::remove_dir_all(folder)
                    .with_context(|| format!("remove `{}`", folder.display()))?;
            }
        }
        Ok(())
    }

    /// What containers leave mounted when they are not ended but killed.
    fn unmount(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
        let ours = |point: &PathBuf| {
            let is_inside = point.starts_with(&self.folder) && *point != self.folder;
            is_inside || point.starts_with(self.run_folder())
        };
        for point in points.filter(ours).collect::<Vec<_>>().iter().rev() {
            done(Command::new("umount").arg("--lazy").arg(point))?;
        }
        Ok(())
    }

    /// A file that is the host's whole disk: removed in an instant, and full without harm to others.
    fn disk(&self) -> PathBuf {
        self.folder.with_extension("disk")
    }

    /// Short, because sockets in it have long names.
    fn run_folder(&self) -> PathBuf {
        Path::new("/run").join(&self.namespace)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }
}

impl Platform for Host {
    fn api(&self) -> String {
        self.api()
    }

    fn ca_file(&self) -> PathBuf {
        self.ca_file()
    }

    fn scratch(&self) -> PathBuf {
        self.folder.join("people")
    }
}
