//! A cluster of stand-ins in a folder of its own, on ports of its own, that is gone with the test.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub const PROGRAMS: [&str; 6] =
    ["logger", "registry-proxy", "controller", "agent", "router", "builder"];
/// Below the ports the kernel hands out by itself, and away from those of other tests.
const FIRST_PORT: u16 = 11_000;
const PORTS_PER_GROUND: u16 = 30;
const GROUNDS: u16 = 100;

pub struct Ground {
    folder: tempfile::TempDir,
    base: u16,
    _claim: fs::File,
    asked: Arc<Mutex<Vec<String>>>,
    /// What the Docker Engine answers with an error: how the path begins, and the status.
    broken: Arc<Mutex<Option<(&'static str, u16)>>>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub ok: bool,
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A process of the machine with its start time, so that signals never hit another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pid {
    id: u32,
    start: String,
}

impl Done {
    pub fn of(command: &mut Command) -> Done {
        let output = command.output().unwrap();
        Done {
            ok: output.status.success(),
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ground {
    pub fn new() -> Ground {
        let (base, claim) = claim_ports();
        let folder = tempfile::tempdir().unwrap();
        let ground =
            Ground { folder, base, _claim: claim, asked: Arc::default(), broken: Arc::default() };
        let programs = ground.programs_folder();
        fs::create_dir(&programs).unwrap();
        let built = PathBuf::from(env!("CARGO_BIN_EXE_clusterctl"));
        let stand_in = built.parent().unwrap().join("examples/stand_in");
        copy(&built, &programs.join("clusterctl"));
        for name in PROGRAMS {
            copy(&stand_in, &programs.join(format!("trireme-{name}")));
        }
        copy(&stand_in, &programs.join("trireme-pre-receive"));
        ground.serve_docker();
        ground
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn programs_folder(&self) -> PathBuf {
        self.folder.path().join("programs")
    }

    pub fn port(&self, offset: u16) -> u16 {
        self.base + offset
    }

    /// Runs `clusterctl` on this ground; the first `up` gets the ground's ports and places.
    pub fn clusterctl(&self, arguments: &[&str]) -> Done {
        let mut command = match arguments {
            ["up", rest @ ..] if !self.data().exists() => {
                let mut up = self.up();
                if !rest.contains(&"--docker-socket") {
                    up.arg("--docker-socket").arg(self.docker_socket());
                }
                if !rest.contains(&"--node") {
                    up.args(["--node", "n1"]);
                }
                up.args(rest);
                up
            }
            _ => self.command(arguments),
        };
        Done::of(command.arg("--data").arg(self.data()))
    }

    /// `clusterctl up` on the ground's ports.
    pub fn up(&self) -> Command {
        let mut command = self.command(&["up"]);
        let flags = [
            "--http-port",
            "--https-port",
            "--ssh-port",
            "--api-port",
            "--registry-port",
            "--base-port",
        ];
        for (offset, flag) in (0..).zip(flags) {
            command.arg(flag).arg(self.port(offset).to_string());
        }
        command.arg("--ca-out").arg(self.ca());
        command
    }

    pub fn docker_socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// `clusterctl` with nothing added.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs_folder().join("clusterctl"));
        command.args(arguments);
        command
    }
    /// The Docker Engine answers paths that begin so with this status.
    pub fn break_docker(&self, path: &'static str, status: u16) {
        *self.broken.lock().unwrap() = Some((path, status));
    }

    /// Name, state and restarts of every program.
    pub fn status(&self) -> Vec<(String, String, u64)> {
        let json: serde_json::Value =
            serde_json::from_str(&self.clusterctl(&["status", "--json"]).out).unwrap();
        let programs = json["programs"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        programs
            .map(|program| {
                let restarts = program["restarts"].as_u64().unwrap();
                (text(&program["name"]), text(&program["state"]), restarts)
            })
            .collect()
    }

    /// The processes of the programs, as the kernel shows them; fails on twins.
    pub fn programs(&self) -> Vec<(String, Pid)> {
        let found = |name: &&str| Some(((*name).to_owned(), self.pid(name)?));
        PROGRAMS.iter().filter_map(found).collect()
    }

    pub fn pid(&self, program: &str) -> Option<Pid> {
        let file = self.programs_folder().join(format!("trireme-{program}"));
        self.only(&[file.to_string_lossy().into_owned()])
    }

    pub fn role(&self, role: &str) -> Option<Pid> {
        let file = self.programs_folder().join("clusterctl").to_string_lossy().into_owned();
        self.only(&[file, "supervise".to_owned(), "--role".to_owned(), role.to_owned()])
    }

    fn only(&self, words: &[String]) -> Option<Pid> {
        let all = self.processes().into_iter().filter(|(_, line)| line.starts_with(words));
        let mut all: Vec<Pid> = all.map(|(pid, _)| pid).collect();
        assert!(all.len() < 2, "twins: {all:?}");
        all.pop()
    }

    /// Everything that runs from this ground, with its command line.
    pub fn processes(&self) -> Vec<(Pid, Vec<String>)> {
        let programs = self.programs_folder().to_string_lossy().into_owned();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter_map(|id| {
            let line = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
            let line: Vec<String> = line.split('\0').map(str::to_owned).collect();
            let pid = Pid::of(id)?;
            line[0].starts_with(&programs).then_some((pid, line))
        })
        .collect()
    }

    /// Kills everything of this ground, the watchers first and again until nothing comes back.
    pub fn cut_power(&self) {
        until("everything has ended", || {
            let mut all = self.processes();
            all.sort_by_key(|(_, line)| !line.contains(&"supervise".to_owned()));
            all.iter().for_each(|(pid, _)| pid.kill());
            all.is_empty()
        });
    }

    pub fn docker_was_asked(&self, line: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == line)
    }

    /// A Docker Engine that has the stack image and one container of every node.
    fn serve_docker(&self) {
        let listener = UnixListener::bind(self.docker_socket()).unwrap();
        let (asked, broken) = (self.asked.clone(), self.broken.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let line = request.split(" HTTP/").next().unwrap().to_owned();
                let body = match line.as_str() {
                    line if line.starts_with("GET /containers/json?")
                        && line.contains("trireme.node%3Dn1") =>
                    {
                        r#"[{"Id":"c1"}]"#
                    }
                    line if line.starts_with("GET /images/json") => "[]",
                    _ => "{}",
                };
                let path = line.split(' ').nth(1).unwrap_or_default();
                let broken = broken.lock().unwrap().filter(|(start, _)| path.starts_with(start));
                let status = broken.map_or(200, |(_, status)| status);
                asked.lock().unwrap().push(line);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} So\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log =
                fs::read_to_string(self.data().join("log/supervisor.log")).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "the supervisor's log:\n{log}");
        }
        self.cut_power();
    }
}

impl Pid {
    pub fn own() -> Pid {
        Pid::of(std::process::id()).unwrap()
    }

    fn of(id: u32) -> Option<Pid> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        (fields[0] != "Z").then(|| Pid { id, start: fields[19].to_owned() })
    }

    pub fn is_alive(&self) -> bool {
        Pid::of(self.id).as_ref() == Some(self)
    }

    /// Kills the process, if it is still the same.
    pub fn kill(&self) {
        let raw = rustix::process::Pid::from_raw(i32::try_from(self.id).unwrap()).unwrap();
        if self.is_alive() {
            let _ = rustix::process::kill_process(raw, rustix::process::Signal::KILL);
        }
    }
}

/// Waits until it is so, and fails after a while.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The first of the ports that are this test's until the file is closed, whatever other tests and runs there are.
fn claim_ports() -> (u16, fs::File) {
    let folder = std::env::temp_dir().join("trireme-test-ports");
    fs::create_dir_all(&folder).unwrap();
    let bases = (0..GROUNDS).map(|number| FIRST_PORT + number * PORTS_PER_GROUND);
    let claim = |base: u16| {
        let file = fs::File::create(folder.join(base.to_string())).unwrap();
        file.try_lock().ok().map(|()| (base, file))
    };
    bases.into_iter().find_map(claim).expect("fewer tests run at once")
}

fn copy(from: &Path, to: &Path) {
    // A link is the same file under another name, which is all the programs look at.
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}
