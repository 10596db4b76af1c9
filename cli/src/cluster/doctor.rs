//! `clusterctl doctor`: looks at everything a cluster on this machine stands on, and says what to do about what it finds.

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use service::{durable::free_bytes, identity::CERT_FILE};
use tokio::net::TcpStream;

use super::{
    certificate::Certificate,
    choices::{Choices, Listener},
    control,
    docker::{Docker, STACK_IMAGE},
    health::{self, Health, ProgramStatus},
    layout::{Layout, PROGRAMS},
    preflight::{MIN_FREE_BYTES, holder_of},
    provision::{RENEW_DAYS, saved_choices},
    up::data_flag,
};
use crate::output;

/// Connecting on the machine itself takes no time.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A program started again this often is worth a look at its log.
const MANY_RESTARTS: u32 = 3;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub area: String,
    /// How it is.
    pub grade: Grade,
    /// What was seen.
    pub seen: String,
    /// What to do about it; empty where all is well.
    pub advice: String,
}

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Well,
    /// It will become a problem.
    Warning,
    /// It is a problem.
    Problem,
}

impl Finding {
    fn well(area: &str, seen: String) -> Finding {
        Finding { area: area.to_owned(), grade: Grade::Well, seen, advice: String::new() }
    }

    fn new(area: &str, grade: Grade, seen: String, advice: String) -> Finding {
        Finding { area: area.to_owned(), grade, seen, advice }
    }
}

/// Prints all findings; exit code 1 if one is a problem.
pub async fn doctor(layout: &Layout, json: bool) -> anyhow::Result<ExitCode> {
    let saved = saved_choices(layout).context("read the choices of this cluster")?;
    let findings = match &saved {
        Some(choices) => examine(layout, choices).await,
        None => vec![Finding::new(
            "cluster",
            Grade::Problem,
            format!("there is none in `{}`", layout.data.display()),
            "make one with `clusterctl up`, or name its folder with --data".to_owned(),
        )],
    };
    if json {
        output::json(&findings)?
    } else {
        print(&findings)
    }
    let has_problem = findings.iter().any(|finding| finding.grade == Grade::Problem);
    Ok(if has_problem { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(findings: &[Finding]) {
    for finding in findings {
        let mark = match finding.grade {
            Grade::Well => "ok     ",
            Grade::Warning => "warning",
            Grade::Problem => "PROBLEM",
        };
        output::line(format_args!("{mark}  {}: {}", finding.area, finding.seen));
        if !finding.advice.is_empty() {
            output::line(format_args!("         -> {}", finding.advice));
        }
    }
}

async fn examine(layout: &Layout, choices: &Choices) -> Vec<Finding> {
    let programs = health::all(layout, choices).await;
    let mut findings = vec![disk(layout)];
    findings.extend(docker(choices).await);
    findings.extend(certificates(layout));
    findings.push(clock(layout));
    findings.push(supervision(layout, &programs));
    findings.extend(programs.iter().map(|status| program(layout, status)));
    findings.extend(ports(choices, &programs).await);
    findings
}

fn disk(layout: &Layout) -> Finding {
    let advice = || format!("free some, or move `{}` to a larger disk", layout.data.display());
    match free_bytes(&layout.data) {
        Ok(free) if free < MIN_FREE_BYTES / 4 => {
            Finding::new("disk", Grade::Problem, format!("{} MiB free", free >> 20), advice())
        }
        Ok(free) if free < MIN_FREE_BYTES => {
            Finding::new("disk", Grade::Warning, format!("{} MiB free", free >> 20), advice())
        }
        Ok(free) => Finding::well("disk", format!("{} MiB free", free >> 20)),
        Err(error) => Finding::new("disk", Grade::Problem, error.to_string(), advice()),
    }
}

async fn docker(choices: &Choices) -> Vec<Finding> {
    let docker = Docker::new(&choices.docker_socket);
    if let Some(problem) = docker.problem().await {
        return vec![Finding::new(
            "docker",
            Grade::Problem,
            problem,
            "apps that run go on; nothing can be built or started until Docker answers".to_owned(),
        )];
    }
    let image = match docker.has_image(STACK_IMAGE).await {
        Ok(true) => Finding::well("stack image", format!("`{STACK_IMAGE}` is there")),
        Ok(false) => Finding::new(
            "stack image",
            Grade::Problem,
            format!("`{STACK_IMAGE}` is not there"),
            "make it with `cargo xtask up`".to_owned(),
        ),
        Err(error) => Finding::new(
            "stack image",
            Grade::Problem,
            error.to_string(),
            "look into Docker's log".to_owned(),
        ),
    };
    let answers = format!("answers at `{}`", choices.docker_socket.display());
    vec![Finding::well("docker", answers), image]
}

fn certificates(layout: &Layout) -> Vec<Finding> {
    let identities = PROGRAMS.iter().map(|program| program.name).chain(["api"]);
    let mut files: Vec<_> =
        identities.map(|name| (name, layout.identity(name).join(CERT_FILE))).collect();
    files.push(("apps", layout.platform().join("chain.pem")));
    files.push(("authority", layout.authority().join("ca.pem")));
    let now = Timestamp::now();
    files.iter().map(|(name, path)| certificate(layout, name, path, now)).collect()
}

fn certificate(layout: &Layout, name: &str, path: &Path, now: Timestamp) -> Finding {
    let area = format!("certificate of {name}");
    let data = data_flag(layout);
    let renew = format!("`clusterctl down{data}`, then `clusterctl up{data}` makes a new one");
    let certificate = match Certificate::read(path) {
        Ok(certificate) => certificate,
        Err(error) => return Finding::new(&area, Grade::Problem, error.to_string(), renew),
    };
    let (days, ends) = (certificate.days_left(), certificate.ends);
    if now < certificate.starts {
        let seen =
            format!("it holds from {} only; this machine's clock says {now}", certificate.starts);
        Finding::new(&area, Grade::Problem, seen, "set the clock".to_owned())
    } else if now > ends {
        Finding::new(&area, Grade::Problem, format!("it ended at {ends}"), renew)
    } else if days < RENEW_DAYS {
        Finding::new(&area, Grade::Warning, format!("{days} days left"), renew)
    } else {
        Finding::well(&area, format!("{days} days left"))
    }
}

/// The clock must not have gone back: certificates and releases carry times.
fn clock(layout: &Layout) -> Finding {
    let written = std::fs::metadata(layout.choices()).and_then(|file| file.modified());
    let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
    let now = Timestamp::now();
    match written {
        Some(written) if written > now => Finding::new(
            "clock",
            Grade::Problem,
            format!("it says {now}, but this cluster's files are of {written}"),
            "set the clock, for example with `apt-get install systemd-timesyncd`".to_owned(),
        ),
        Some(_) | None => Finding::well("clock", now.to_string()),
    }
}

fn supervision(layout: &Layout, programs: &[ProgramStatus]) -> Finding {
    let data = data_flag(layout);
    if control::is_supervised(layout) {
        return Finding::well("supervisor", "it runs".to_owned());
    }
    let seen = if programs.iter().any(|status| status.pid.is_some()) {
        "it does not run; programs that end stay ended"
    } else {
        "the cluster is stopped"
    };
    Finding::new("supervisor", Grade::Problem, seen.to_owned(), format!("`clusterctl up{data}`"))
}

fn program(layout: &Layout, status: &ProgramStatus) -> Finding {
    let name = status.name;
    let logs = format!("read `clusterctl logs {name} -n 50{}`", data_flag(layout));
    if status.pid.is_none() {
        let end = status.last_end.as_deref().unwrap_or("it was not started");
        return Finding::new(name, Grade::Problem, format!("{}; {end}", status.state), logs);
    }
    match &status.health {
        Health::Well if status.restarts >= MANY_RESTARTS => Finding::new(
            name,
            Grade::Warning,
            format!("well, but started again {} times", status.restarts),
            logs,
        ),
        Health::Well => Finding::well(name, "well".to_owned()),
        sick @ (Health::Sick(_) | Health::Silent(_)) => {
            Finding::new(name, Grade::Problem, sick.words(), logs)
        }
    }
}

/// Of programs that run, their ports must answer; of others, they must be free.
async fn ports(choices: &Choices, programs: &[ProgramStatus]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in choices.listeners() {
        let status = programs.iter().find(|status| status.name == listener.program);
        let is_running = status.is_some_and(|status| status.pid.is_some());
        findings.extend(port(&listener, is_running).await);
    }
    if findings.is_empty() {
        findings.push(Finding::well("ports", "all as they should be".to_owned()));
    }
    findings
}

async fn port(listener: &Listener, is_running: bool) -> Option<Finding> {
    let mut address = listener.address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    let answers = matches!(connected, Ok(Ok(_)));
    let area = format!("port {}", address.port());
    let (program, what) = (listener.program, listener.what);
    match (is_running, answers) {
        (true, true) | (false, false) => None,
        (true, false) => Some(Finding::new(
            &area,
            Grade::Problem,
            format!("{program} runs but does not answer there ({what})"),
            "look for a firewall on the loopback interface, and into the program's log".to_owned(),
        )),
        (false, true) => {
            let holder = holder_of(address.port());
            let holder = holder.map_or("another program".to_owned(), |holder| {
                format!("`{}` (process {})", holder.name, holder.pid)
            });
            Some(Finding::new(
                &area,
                Grade::Problem,
                format!("{holder} holds it; {program} wants it ({what})"),
                format!("stop it, or move the port with `clusterctl up {}`", listener.flag),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_its_time() {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let authority = service::Authority::create(&layout.authority()).unwrap();
        let path = folder.path().join("cert.pem");
        let grade = |days: u32, now: Timestamp| {
            let issued = authority.issue_server(&["a.example".to_owned()], &[], days).unwrap();
            std::fs::write(&path, issued.cert_pem).unwrap();
            certificate(&layout, "api", &path, now).grade
        };
        let now = Timestamp::now();
        let day = jiff::SignedDuration::from_hours(24);
        assert_eq!(grade(100, now), Grade::Well);
        assert_eq!(grade(10, now), Grade::Warning);
        assert_eq!(grade(10, now + day * 11), Grade::Problem);
        assert_eq!(grade(100, now - day), Grade::Problem, "the clock is behind");
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(certificate(&layout, "api", &path, now).grade, Grade::Problem);
    }

    #[test]
    fn a_program_that_keeps_ending_is_a_warning_even_when_well() {
        let layout = Layout::new("/d");
        let mut status = ProgramStatus {
            name: "router",
            state: "running",
            pid: Some(1),
            uptime_seconds: Some(1),
            restarts: 0,
            last_end: None,
            resident_bytes: None,
            health: Health::Well,
        };
        assert_eq!(program(&layout, &status).grade, Grade::Well);
        status.restarts = MANY_RESTARTS;
        assert_eq!(program(&layout, &status).grade, Grade::Warning);
        status.pid = None;
        assert_eq!(program(&layout, &status).grade, Grade::Problem);
    }
}
