//! One cluster on this machine, in a folder and on ports of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Output, program, run};
use crate::person::Platform;

/// All programs of a cluster.
pub const PROGRAMS: [&str; 6] =
    ["logger", "registry-proxy", "agent", "builder", "controller", "router"];

/// A running cluster. Dropping it stops and wipes it.
pub struct Cluster {
    /// Its name: its node's, and part of its domain where that is not another cluster's.
    pub name: String,
    /// The first of its hundred ports.
    pub port: u16,
    folder: tempfile::TempDir,
    data: PathBuf,
    /// The folder of its programs.
    programs: PathBuf,
    settings: Vec<(&'static str, &'static str)>,
    domain: String,
}

impl Cluster {
    /// Brings one up. `port` is the first of a hundred ports that nothing else uses.
    #[track_caller]
    pub fn up(name: &str, port: u16) -> Cluster {
        Cluster::begin(name, port, None, &[])
    }

    /// Brings one up whose programs have these settings, given as variables of the environment.
    #[track_caller]
    pub fn up_with(name: &str, port: u16, settings: &[(&'static str, &'static str)]) -> Cluster {
        Cluster::begin(name, port, None, settings)
    }

    /// Brings one up that keeps everything in `data`.
    #[track_caller]
    pub fn up_in(name: &str, port: u16, data: PathBuf) -> Cluster {
        Cluster::begin(name, port, Some(data), &[])
    }

    /// Brings one up from programs in a folder of its own.
    #[track_caller]
    pub fn up_from(name: &str, port: u16, programs: PathBuf) -> Cluster {
        let mut cluster = Cluster::new(name, port, None, &[]);
        cluster.programs = programs;
        cluster.start().ok();
        cluster
    }

    #[track_caller]
    fn begin(
        name: &str,
        port: u16,
        data: Option<PathBuf>,
        settings: &[(&'static str, &'static str)],
    ) -> Cluster {
        let cluster = Cluster::new(name, port, data, settings);
        cluster.start().ok();
        cluster
    }

    fn new(
        name: &str,
        port: u16,
        data: Option<PathBuf>,
        settings: &[(&'static str, &'static str)],
    ) -> Cluster {
        let folder =
            tempfile::Builder::new().prefix("tri-").tempdir().expect("/tmp takes a folder");
        let data = data.unwrap_or_else(|| folder.path().join("data"));
        let programs = program("clusterctl").parent().expect("it lies in a folder").to_owned();
        let (domain, name) = (format!("{name}.localhost"), name.to_owned());
        let settings = settings.to_vec();
        Cluster { name, port, folder, data, programs, settings, domain }
    }

    /// One to be, that will begin with a backup of another.
    pub fn to_restore(name: &str, port: u16, of: &Cluster) -> Cluster {
        let mut cluster = Cluster::new(name, port, None, &[]);
        cluster.domain = of.domain();
        cluster
    }

    /// `clusterctl restore` into this cluster's folder, not started yet.
    pub fn restore_command(&self, backup: &Path) -> Command {
        let mut command = self.clusterctl(&["restore", "--single", "--node", &self.name]);
        command.arg(backup);
        self.place(&mut command);
        command
    }

    /// `clusterctl up`, as the first time or again.
    pub fn start(&self) -> Output {
        let mut command =
            self.clusterctl(&["up", "--node", &self.name, "--domain", &self.domain()]);
        self.place(&mut command);
        run(&mut command)
    }

    /// Says where on this machine it shall be.
    fn place(&self, command: &mut Command) {
        command.arg("--ca-out").arg(self.ca_file());
        let ports = [
            ("--http-port", self.http_port()),
            ("--https-port", self.https_port()),
            ("--ssh-port", self.port + 2),
            ("--api-port", self.port + 3),
            ("--registry-port", self.port + 4),
            ("--base-port", self.port + 10),
        ];
        for (flag, port) in ports {
            command.arg(flag).arg(port.to_string());
        }
    }

    /// `clusterctl ARGUMENTS` for this cluster.
    pub fn clusterctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("clusterctl"));
        command.args(arguments).arg("--data").arg(&self.data);
        command.envs(self.settings.iter().copied());
        command
    }

    /// Where it keeps everything.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A folder for what tests need beside it.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate authority to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Apps answer below it.
    pub fn domain(&self) -> String {
        self.domain.clone()
    }

    /// Where `paasctl` finds the API.
    pub fn api(&self) -> String {
        format!("https://deis.{}:{}", self.domain(), self.port + 3)
    }

    /// The router's HTTP port.
    pub fn http_port(&self) -> u16 {
        self.port
    }

    /// The router's HTTPS port.
    pub fn https_port(&self) -> u16 {
        self.port + 1
    }

    /// What `curl` gets from an app over HTTP: status and body.
    pub fn get(&self, host: &str, path: &str) -> (u16, String) {
        self.curl(&[&format!("http://{host}:{}{path}", self.http_port())])
    }

    /// What `curl` gets with any arguments, names resolved to this machine: status and body.
    pub fn curl(&self, arguments: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", "-w", "\n%{http_code}"]);
        command.arg("--cacert").arg(self.ca_file());
        command.args(["--connect-to", "::127.0.0.1:"]);
        command.args(arguments);
        let output = run(&mut command);
        let (body, code) = output.stdout.rsplit_once('\n').unwrap_or(("", &output.stdout));
        (code.trim().parse().unwrap_or(0), body.to_owned())
    }

    /// The programs as `clusterctl status --json` tells them.
    pub fn status(&self) -> serde_json::Value {
        run(&mut self.clusterctl(&["status", "--json"])).json()
    }

    /// The process id of a program, when it runs.
    pub fn pid(&self, program: &str) -> Option<u32> {
        let status = self.status();
        let programs = status["programs"].as_array()?;
        let found = programs.iter().find(|entry| entry["name"] == program)?;
        found["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    /// Whether `clusterctl status` calls every program well.
    pub fn is_well(&self) -> bool {
        run(&mut self.clusterctl(&["status"])).code == Some(0)
    }

    /// The processes that keep the programs running.
    pub fn keepers(&self) -> Vec<u64> {
        let status = self.status();
        let keepers = status["keepers"].as_object().expect("status names the keepers");
        keepers.values().filter_map(serde_json::Value::as_u64).collect()
    }

    /// Kills a program as a crash would, and says which process it was.
    #[track_caller]
    pub fn kill(&self, program: &str) -> u32 {
        let pid = self.pid(program).unwrap_or_else(|| panic!("{program} runs: {}", self.status()));
        run(Command::new("kill").args(["-KILL", &pid.to_string()])).ok();
        pid
    }
}

impl Platform for Cluster {
    fn api(&self) -> String {
        self.api()
    }

    fn ca_file(&self) -> PathBuf {
        self.ca_file()
    }

    fn scratch(&self) -> PathBuf {
        self.scratch().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in PROGRAMS {
                let said = run(&mut self.clusterctl(&["logs", "-n", "30", name]));
                crate::step(&format!("{name} said\n{}", said.stdout));
            }
        }
        let output = run(&mut self.clusterctl(&["down", "--wipe", "--confirm", &self.name]));
        if std::thread::panicking() {
            crate::step(&format!("down: {output:?}"));
        } else {
            assert_eq!(output.code, Some(0), "the cluster could not be taken down: {output:?}");
        }
    }
}
