//! The Docker Engine of this machine: is it there, and how is it started where nothing else starts it?

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::program::{self, say};

const SOCKET: &str = "/var/run/docker.sock";
const PIDFILE: &str = "/var/run/docker.pid";
const LOG: &str = "/var/log/trireme/dockerd.log";

/// Debian's own client fits Debian's engine; a newer one elsewhere may refuse to talk to it.
const DEBIAN_CLIENT: &str = "/usr/bin/docker";

const PING_TIMEOUT: Duration = Duration::from_secs(5);
const START_DEADLINE: Duration = Duration::from_secs(90);
const REPORT_PERIOD: Duration = Duration::from_secs(5);
const POLL_PERIOD: Duration = Duration::from_millis(100);

/// What was found of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It answers on its socket.
    Answering,
    /// Its process lives, but does not answer yet.
    Starting,
    /// systemd runs this machine and will start it.
    Managed,
    /// Nobody will start it but us.
    Unmanaged,
}

impl Observed {
    /// Whether the engine can be used now.
    pub fn is_answering(self) -> bool {
        self == Self::Answering
    }

    /// What `start` will do, in words.
    pub fn intent(self) -> Option<&'static str> {
        match self {
            Self::Answering => None,
            Self::Starting => Some("wait for the Docker Engine that is starting"),
            Self::Managed => Some("start the Docker Engine with systemd"),
            Self::Unmanaged => Some(
                "start the Docker Engine in the background (this machine has no service manager)",
            ),
        }
    }
}

/// Looks at the engine without touching it.
pub fn observe() -> Observed {
    if ping().is_ok() {
        Observed::Answering
    } else if is_process_alive() {
        Observed::Starting
    } else if Path::new("/run/systemd/system").exists() {
        Observed::Managed
    } else {
        Observed::Unmanaged
    }
}

/// Starts the engine where that is needed and waits until it answers.
pub fn start() -> Result<()> {
    let mut child = match observe() {
        Observed::Answering => return Ok(()),
        Observed::Starting => None,
        Observed::Managed => {
            program::quiet(
                "Starting Docker",
                Command::new("systemctl").args(["start", "docker.service"]),
            )?;
            None
        }
        Observed::Unmanaged => Some(spawn()?),
    };
    say("  Waiting for the Docker Engine ...");
    let started = Instant::now();
    let mut reported = started;
    while let Err(error) = ping() {
        let has_ended = match &mut child {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        if has_ended || started.elapsed() > START_DEADLINE {
            return Err(error.context(failure(has_ended)));
        }
        if reported.elapsed() > REPORT_PERIOD {
            reported = Instant::now();
            say(&format!("  Waiting for the Docker Engine ... {} s", started.elapsed().as_secs()));
        }
        thread::sleep(POLL_PERIOD);
    }
    say(&format!("  The Docker Engine answers after {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// The Docker client, bound to this machine's engine whatever the environment says.
pub fn client() -> Result<Command> {
    let path = match Path::new(DEBIAN_CLIENT).exists() {
        true => Path::new(DEBIAN_CLIENT).to_owned(),
        false => program::find("docker").ok_or_else(|| {
            anyhow!("no `docker` program found; install it with `apt-get install docker.io`")
        })?,
    };
    let mut command = Command::new(path);
    command
        .env_remove("DOCKER_HOST")
        .env_remove("DOCKER_CONTEXT")
        .arg("--host")
        .arg(format!("unix://{SOCKET}"));
    Ok(command)
}

/// Starts `dockerd` in a session of its own, so that neither a closed terminal nor our end stops it.
fn spawn() -> Result<Child> {
    let dockerd = program::find("dockerd")
        .ok_or_else(|| anyhow!("no `dockerd` found after installing `docker.io`"))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(LOG)
        .with_context(|| format!("open `{LOG}`"))?;
    Command::new("setsid")
        .arg(dockerd)
        .args(["--pidfile", PIDFILE])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start `dockerd`")
}

fn ping() -> Result<()> {
    let mut socket =
        UnixStream::connect(SOCKET).with_context(|| format!("connect to `{SOCKET}`"))?;
    socket.set_read_timeout(Some(PING_TIMEOUT))?;
    socket.set_write_timeout(Some(PING_TIMEOUT))?;
    socket.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer)?;
    if !answer.ends_with(b" 200") {
        bail!("`{SOCKET}` answered {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Whether the pidfile names a living engine; one left by a crash names nothing, or a stranger.
fn is_process_alive() -> bool {
    let pid = fs::read_to_string(PIDFILE).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let name = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    name.is_some_and(|name| name.trim() == "dockerd")
}

fn failure(has_ended: bool) -> String {
    let what =
        if has_ended { "dockerd ended at once" } else { "the Docker Engine does not answer" };
    let tail = File::open(LOG)
        .ok()
        .and_then(|mut log| program::tail(&mut log, 0).ok())
        .unwrap_or_default();
    format!(
        "{what}; the last lines of {LOG}, or of `journalctl -u docker` under systemd, say why:\n{tail}\n"
    )
}
