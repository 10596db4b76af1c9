//! How the programs are: asked at their admin endpoints, all at once.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    choices::Choices,
    control,
    layout::{Layout, Program},
    process::Process,
    record::{Record, State},
    supervisor,
    up::data_flag,
    wire,
};

/// An admin endpoint answers from memory.
const LIMIT: Duration = Duration::from_secs(2);

/// How one program is.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramStatus {
    /// The program.
    pub name: &'static str,
    /// Whether it runs: `running`, `paused` before its next start, or `stopped`.
    pub state: &'static str,
    /// Its process.
    pub pid: Option<u32>,
    /// How long it has been running.
    pub uptime_seconds: Option<u64>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    pub last_end: Option<String>,
    /// Memory it holds.
    pub resident_bytes: Option<u64>,
    /// Whether it can do its job.
    pub health: Health,
}

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It can do its job.
    Well,
    /// It says why not.
    Sick(Vec<String>),
    /// It does not answer.
    Silent(String),
}

impl ProgramStatus {
    /// Running and well.
    pub fn is_well(&self) -> bool {
        self.state == "running" && self.health == Health::Well
    }
}

impl Health {
    /// In a few words.
    pub fn words(&self) -> String {
        match self {
            Health::Well => "ok".to_owned(),
            Health::Sick(reasons) => reasons.join("; "),
            Health::Silent(reason) => format!("no answer: {reason}"),
        }
    }
}

/// How all programs are, in the order of their start.
pub async fn all(layout: &Layout, choices: &Choices) -> Vec<ProgramStatus> {
    join_all(choices.programs().into_iter().map(|program| one(layout, choices, program))).await
}

/// How one program is.
pub async fn one(layout: &Layout, choices: &Choices, program: Program) -> ProgramStatus {
    let table = supervisor::read_table(layout).unwrap_or_default();
    let record = Record::read(layout, program.name);
    // On a full disk the record is of the start before the last.
    let command = table.iter().find(|command| command.name == program.name);
    let process = command.and_then(|command| supervisor::find(layout, command));
    let health = ask(choices.admin(program.admin_offset), program.health_path()).await;
    status(program.name, process, record, health)
}

/// Why this node cannot be worked on while it runs: it does not run, or not well.
pub async fn problems(layout: &Layout, choices: &Choices) -> Vec<String> {
    if !control::is_supervised(layout) {
        return vec![format!(
            "the cluster does not run here. Start it with `clusterctl up{}`.",
            data_flag(layout)
        )];
    }
    let all = all(layout, choices).await.into_iter();
    let sick = all.filter(|status| !status.is_well());
    let told = sick.map(|status| {
        format!(
            "`{}` is not well: {}. See `clusterctl doctor{}`.",
            status.name,
            status.health.words(),
            data_flag(layout)
        )
    });
    told.collect()
}

fn status(
    program: &'static str,
    process: Option<Process>,
    record: Record,
    health: Health,
) -> ProgramStatus {
    let state = match (&process, &record.state) {
        (Some(_), _) => "running",
        // Recorded as running, but gone: the supervisor, if there is one, is about to notice.
        (None, State::Paused { .. }) => "paused",
        (None, State::Running(_) | State::Stopped) => "stopped",
    };
    ProgramStatus {
        name: program,
        state,
        pid: process.as_ref().map(|process| process.pid),
        uptime_seconds: process.as_ref().map(|process| process.uptime().as_secs()),
        restarts: record.restarts,
        last_end: record.last_end,
        resident_bytes: process.as_ref().and_then(Process::resident_bytes),
        health,
    }
}

/// Asks one admin endpoint.
pub async fn ask(address: SocketAddr, path: &str) -> Health {
    match wire::get(address, path, LIMIT).await {
        Ok(answer) if answer.status == StatusCode::OK => Health::Well,
        Ok(answer) => Health::Sick(reasons(&answer.body, answer.status)),
        Err(wire::HttpError::Connect(_)) => Health::Silent(format!("nothing listens at {address}")),
        Err(error) => Health::Silent(format!("failed to {error}")),
    }
}

/// The checks that fail, from the answer's body.
fn reasons(body: &[u8], status: StatusCode) -> Vec<String> {
    #[derive(Deserialize)]
    struct Heartbeat {
        checks: std::collections::BTreeMap<String, String>,
    }
    match serde_json::from_slice(body) {
        Ok(Heartbeat { checks }) => {
            let failing = checks.into_iter().filter(|(_, answer)| answer != "ok");
            failing.map(|(name, answer)| format!("{name}: {answer}")).collect()
        }
        Err(_) => vec![format!("answers {status}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failing_checks_are_reasons() {
        let body = br#"{"checks":{"controller":"not seen","disk":"ok"},"status":"error"}"#;
        assert_eq!(reasons(body, StatusCode::SERVICE_UNAVAILABLE), ["controller: not seen"]);
        assert_eq!(reasons(b"oops", StatusCode::BAD_GATEWAY), ["answers 502 Bad Gateway"]);
    }

    #[test]
    fn a_program_that_answers_but_is_not_ours_is_not_well() {
        let status = status("router", None, Record::default(), Health::Well);
        assert!(!status.is_well());
    }
}
