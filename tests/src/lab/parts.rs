//! The parts of a host's node: which leads, which process each is, what it runs, and what its router answers.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::Host;
use crate::command::run;

/// Where the controller, and the member of the store, tell their metrics.
const CONTROLLER_METRICS: &str = "127.0.0.1:7410";
const STORE_METRICS: &str = "127.0.0.1:7406";
/// Where members of the store reach each other.
const MEMBER_PORT: u16 = 7405;

impl Host {
    /// Its router.
    pub fn router(&self) -> SocketAddr {
        (self.address, 80).into()
    }

    /// What its router answers for a host name: status and body. 0: nothing.
    pub fn get(&self, host: &str, path: &str) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "10", "-w", "\n%{http_code}", "-H"]);
        curl.arg(format!("Host: {host}")).arg(format!("http://{}{path}", self.router()));
        let output = run(&mut curl).stdout;
        let (body, code) = output.rsplit_once('\n').unwrap_or(("", &output));
        (code.trim().parse().unwrap_or(0), body.to_owned())
    }

    /// Whether its controller leads.
    pub fn leads(&self) -> bool {
        self.tells(CONTROLLER_METRICS, "controller_leads 1")
    }

    /// Whether its member leads the store.
    pub fn leads_the_store(&self) -> bool {
        self.tells(STORE_METRICS, "etcd_server_is_leader 1")
    }

    /// The members of the store that its own member knows, by name.
    pub fn store_members(&self) -> Vec<String> {
        let identity = self.data().join("etcd/peer");
        let mut curl = self.command("curl");
        curl.args(["-sS", "--max-time", "5", "--http1.1", "--insecure", "--cert"]);
        curl.arg(identity.join("cert.pem")).arg("--key").arg(identity.join("key.pem"));
        let told = run(curl.arg(format!("https://{}:{MEMBER_PORT}/members", self.address))).stdout;
        let members: Vec<Value> = serde_json::from_str(&told).unwrap_or_default();
        members.iter().filter_map(|member| member["name"].as_str().map(str::to_owned)).collect()
    }

    /// The containers of an app's units that run here, with their type.
    pub fn units(&self, app: &str) -> Vec<(String, String)> {
        let format = "{{.ID}} {{.Label \"trireme.process\"}}";
        let label = format!("label=trireme.app={app}");
        let listed =
            run(&mut self.docker(&["ps", "--no-trunc", "--format", format, "--filter", &label]));
        let rows = listed.stdout.lines().filter_map(|row| row.split_once(' '));
        rows.map(|(id, process)| (id.to_owned(), process.to_owned())).collect()
    }

    /// The process of a program of the platform, if it runs.
    pub fn pid(&self, program: &str) -> Option<u32> {
        let status = run(&mut self.clusterctl(&["status", "--json"])).stdout;
        let status: Value = serde_json::from_str(&status).ok()?;
        let programs = status["programs"].as_array()?;
        let found = programs.iter().find(|entry| entry["name"] == program)?;
        found["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    /// Sends a program a signal (`-KILL`), and says which process it was.
    #[track_caller]
    pub fn signal(&self, program: &str, signal: &str) -> u32 {
        let pid = self.pid(program).unwrap_or_else(|| panic!("{program} runs on {}", self.name));
        run(Command::new("kill").args([signal, &pid.to_string()])).ok();
        pid
    }

    fn tells(&self, endpoint: &str, line: &str) -> bool {
        self.metrics(endpoint).lines().any(|told| told == line)
    }

    fn metrics(&self, endpoint: &str) -> String {
        let url = format!("http://{endpoint}/metrics");
        run(self.command("curl").args(["-sS", "--max-time", "2", &url])).stdout
    }
}
