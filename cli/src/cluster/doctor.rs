//! `clusterctl doctor`: looks at everything a cluster on this machine stands on, and says what to do about what it finds.

mod certificates;
pub mod finding;
mod nodes;
mod ports;
mod whole;

use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use service::durable::free_bytes;

use self::{
    certificates::certificates,
    finding::{Finding, Grade, print},
    ports::ports,
    whole::whole,
};
use super::{
    choices::Choices,
    control,
    docker::{Docker, STACK_IMAGE},
    etcd,
    health::{self, Health, ProgramStatus},
    layout::{ETCD, Layout},
    preflight::MIN_FREE_BYTES,
    provision::saved_choices,
    recover,
    up::data_flag,
};
use crate::output;

/// A program started again this often is worth a look at its log.
const MANY_RESTARTS: u32 = 3;

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

async fn examine(layout: &Layout, choices: &Choices) -> Vec<Finding> {
    let programs = health::all(layout, choices).await;
    let mut findings = vec![disk(layout)];
    findings.extend(docker(choices).await);
    findings.extend(certificates(layout, choices));
    findings.push(clock(layout));
    findings.push(supervision(layout, &programs));
    findings.extend(programs.iter().map(|status| program(layout, choices, status)));
    findings.extend(recover::finding(layout));
    findings.extend(ports(choices, &programs).await);
    // Without it that is said already.
    if programs.iter().any(|status| status.name == "controller" && status.pid.is_some()) {
        findings.extend(whole(layout, choices).await);
    }
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

fn program(layout: &Layout, choices: &Choices, status: &ProgramStatus) -> Finding {
    let name = status.name;
    let removal = (name == ETCD.name).then(|| etcd::removal(layout, &choices.node)).flatten();
    let logs = removal
        .unwrap_or_else(|| format!("read `clusterctl logs {name} -n 50{}`", data_flag(layout)));
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let choices = Choices::new(&layout, "n1");
        let program = |status: &ProgramStatus| super::program(&layout, &choices, status);
        assert_eq!(program(&status).grade, Grade::Well);
        status.restarts = MANY_RESTARTS;
        assert_eq!(program(&status).grade, Grade::Warning);
        status.pid = None;
        assert_eq!(program(&status).grade, Grade::Problem);
    }
}
