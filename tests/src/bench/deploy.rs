//! From push to live, config and scale changes, and what the platform costs when idle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Figure, median, progress, timed};
use crate::{Cluster, Person, Repository, rows, run};

const RUNS: usize = 5;
const UNITS: u32 = 10;
/// How long the idle platform is watched.
const IDLE: Duration = Duration::from_secs(30);
/// Kernel clock ticks per second, as `/proc` counts CPU time.
const TICKS_PER_SECOND: f64 = 100.0;

const APP: &str = include_str!("../../fixtures/flask.py");
const PEER_DOCKERFILE: &str = "FROM trireme/stack:12\nUSER root\nWORKDIR /app\nCOPY requirements.txt .\n\
RUN python3 -m venv /venv && /venv/bin/pip install -q -r requirements.txt\nCOPY . .\nENV PORT=5000\nCMD [\"/venv/bin/python\", \"app.py\"]\n";

/// Measures and prints.
pub fn run_all() {
    let peer = Peer::new();
    let mut cluster = None;
    let up = timed(|| cluster = Some(Cluster::up("bench", 23000)));
    let cluster = cluster.expect("it is up");
    Figure { bench: "clusterctl up to ready", unit: "s", ours: up.as_secs_f64(), peer: None }
        .print();
    idle(&cluster);

    let olga = Person::registered(&cluster, "olga");
    let app = Repository::new(
        &olga,
        "app",
        &[("requirements.txt", "flask\n"), ("app.py", APP), ("Procfile", "web: python app.py\n")],
    );
    app.paasctl(&olga, &["apps:create", "app"]).ok();
    progress("the first push and the first docker build fill the caches");
    app.push(&olga, "master").ok();
    peer.build(app.folder());

    push(&cluster, &olga, &app, &peer);
    config(&olga, &app, &peer);
    scale(&olga, &app, &peer);
    idle_with_app(&cluster);
}

/// Push to live of an unchanged-dependency app, beside `docker build` and `docker run` of the same tree.
fn push(cluster: &Cluster, olga: &Person<'_>, app: &Repository, peer: &Peer) {
    let (mut ours, mut classic, mut buildkit) = (Vec::new(), Vec::new(), Vec::new());
    let host = format!("app.{}", cluster.domain());
    for round in 0..RUNS {
        progress(&format!("push to live, round {}", round + 1));
        let text = format!("round {round} {}", std::process::id());
        app.commit(&[("version.txt", &text)]);
        ours.push(timed(|| {
            app.push(olga, "master").ok();
            assert_eq!(cluster.get(&host, "/").0, 200);
        }));
        app.commit(&[("version.txt", &format!("{text} peer"))]);
        classic.push(timed(|| {
            peer.build(app.folder());
            peer.start(1);
        }));
        peer.clear();
        app.commit(&[("version.txt", &format!("{text} buildkit"))]);
        buildkit.push(timed(|| {
            peer.buildkit(app.folder());
            peer.start(1);
        }));
        peer.clear();
    }
    let ours = median(ours);
    let classic = Some(("docker build + docker run", median(classic)));
    Figure { bench: "push to live, warm", unit: "s", ours, peer: classic }.print();
    let buildkit = Some(("docker build (BuildKit) + docker run", median(buildkit)));
    Figure { bench: "push to live, warm", unit: "s", ours, peer: buildkit }.print();
}

/// A config change on three units, beside three containers started anew.
fn config(olga: &Person<'_>, app: &Repository, peer: &Peer) {
    app.paasctl(olga, &["scale", "web=3"]).ok();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..RUNS {
        progress(&format!("config change, round {}", round + 1));
        let setting = format!("ROUND={round}");
        ours.push(timed(|| drop(app.paasctl(olga, &["config:set", &setting]).ok())));
        theirs.push(timed(|| peer.start(3)));
        peer.clear();
    }
    let peer = Some(("3 x docker run, until they listen", median(theirs)));
    Figure { bench: "config change live on 3 units", unit: "s", ours: median(ours), peer }.print();
}

/// One to ten units, beside nine containers started plainly.
fn scale(olga: &Person<'_>, app: &Repository, peer: &Peer) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..RUNS {
        progress(&format!("scale 1 to {UNITS}, round {}", round + 1));
        app.paasctl(olga, &["scale", "web=1"]).ok();
        let wanted = format!("web={UNITS}");
        ours.push(timed(|| drop(app.paasctl(olga, &["scale", &wanted]).ok())));
        theirs.push(timed(|| peer.start(UNITS - 1)));
        peer.clear();
    }
    app.paasctl(olga, &["scale", "web=1"]).ok();
    let peer = Some(("9 x docker run, until they listen", median(theirs)));
    Figure { bench: "scale 1 to 10", unit: "s", ours: median(ours), peer }.print();
}

fn idle(cluster: &Cluster) {
    progress("the idle platform, without apps");
    print_idle(cluster, "idle, no apps");
}

fn idle_with_app(cluster: &Cluster) {
    progress("the idle platform, with one app");
    print_idle(cluster, "idle, one app");
}

fn print_idle(cluster: &Cluster, what: &str) {
    let pids = pids(cluster);
    let before = cpu_seconds(&pids);
    let began = Instant::now();
    std::thread::sleep(IDLE);
    let percent = (cpu_seconds(&pids) - before) / began.elapsed().as_secs_f64() * 100.0;
    let megabytes: f64 = pids.iter().map(|pid| resident_megabytes(*pid)).sum();
    Figure {
        bench: &format!("{what}: resident, all programs"),
        unit: "MB",
        ours: megabytes,
        peer: None,
    }
    .print();
    Figure {
        bench: &format!("{what}: CPU, all programs"),
        unit: "percent",
        ours: percent,
        peer: None,
    }
    .print();
}

/// Every process of the platform: programs, supervisor and guardian.
fn pids(cluster: &Cluster) -> Vec<u64> {
    let status = cluster.status();
    let mut pids: Vec<u64> =
        rows(&status["programs"]).iter().filter_map(|row| row["pid"].as_u64()).collect();
    pids.extend(
        ["supervisor", "guardian"].iter().filter_map(|keeper| status[keeper]["pid"].as_u64()),
    );
    assert!(pids.len() >= 6, "{status}");
    pids
}

fn cpu_seconds(pids: &[u64]) -> f64 {
    let ticks = pids.iter().map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the program runs");
        let after_name = stat.rsplit_once(") ").expect("a stat line names its program").1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        let tick = |place: usize| fields[place].parse::<f64>().expect("CPU time is a number");
        tick(11) + tick(12)
    });
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

fn resident_megabytes(pid: u64) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the program runs");
    let line =
        status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
    let kilobytes = line.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok());
    kilobytes.expect("VmRSS is a number") / 1024.0
}

/// Plain Docker with a Dockerfile a careful user would write.
struct Peer {
    image: String,
    dockerfile: tempfile::NamedTempFile,
}

impl Peer {
    fn new() -> Peer {
        let mut dockerfile = tempfile::NamedTempFile::new().expect("/tmp takes a file");
        dockerfile.write_all(PEER_DOCKERFILE.as_bytes()).expect("/tmp takes a file");
        Peer { image: format!("trireme-bench-peer:{}", std::process::id()), dockerfile }
    }

    fn docker(&self) -> Command {
        Command::new("/usr/bin/docker")
    }

    fn build(&self, folder: &std::path::Path) {
        self.build_with(folder, "0");
    }

    fn buildkit(&self, folder: &std::path::Path) {
        self.build_with(folder, "1");
    }

    fn build_with(&self, folder: &std::path::Path, buildkit: &str) {
        let mut command = self.docker();
        command.env("DOCKER_BUILDKIT", buildkit).args(["build", "-q", "-t", &self.image, "-f"]);
        run(command.arg(self.dockerfile.path()).arg(folder)).ok();
    }

    /// Starts containers one after the other, then waits until all of them answer.
    fn start(&self, count: u32) {
        let label = format!("trireme-bench={}", std::process::id());
        let started: Vec<String> = (0..count)
            .map(|_| {
                run(self.docker().args(["run", "-d", "--label", &label, &self.image])).ok().stdout
            })
            .collect();
        for id in started {
            let format = "{{.NetworkSettings.IPAddress}}";
            let inspected = run(self.docker().args(["inspect", "-f", format, id.trim()])).ok();
            let address = format!("{}:5000", inspected.stdout.trim());
            crate::until("the peer answers", || answers(&address).then_some(()));
        }
    }

    fn clear(&self) {
        let filter = format!("label=trireme-bench={}", std::process::id());
        let listed = run(self.docker().args(["ps", "-aq", "--filter", &filter])).ok();
        let ids: Vec<&str> = listed.stdout.split_whitespace().collect();
        if !ids.is_empty() {
            run(self.docker().args(["rm", "-f"]).args(ids)).ok();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        run(self.docker().args(["rmi", "-f", &self.image]));
    }
}

fn answers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 12];
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.ends_with(b"200")
}
