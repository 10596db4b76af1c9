//! `clusterctl status`: each program, whether it runs and whether it is well.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use super::{
    control,
    health::{self, ProgramStatus},
    layout::Layout,
    provision::saved_choices,
    record::holder,
    supervisor::Role,
    up::data_flag,
};
use crate::output;

/// Nothing runs; as service managers say it.
const EXIT_STOPPED: u8 = 3;

#[derive(Serialize)]
struct Status {
    data: std::path::PathBuf,
    node: String,
    domain: String,
    api: String,
    supervised: bool,
    /// Process ids of supervisor and guardian, which keep the programs and each other running.
    keepers: BTreeMap<&'static str, u32>,
    resident_bytes: u64,
    programs: Vec<ProgramStatus>,
}

/// Prints how the programs are: exit code 0 all well, 1 some are not, 3 nothing runs.
pub async fn status(layout: &Layout, json: bool) -> anyhow::Result<ExitCode> {
    let Some(choices) = saved_choices(layout).context("read the choices of this cluster")? else {
        eprintln!(
            "clusterctl: there is no cluster in `{}`. `clusterctl up` makes one.",
            layout.data.display()
        );
        return Ok(ExitCode::from(EXIT_STOPPED));
    };
    let programs = health::all(layout, &choices).await;
    let status = Status {
        data: layout.data.clone(),
        node: choices.node.clone(),
        domain: choices.domain.clone(),
        api: choices.api_url(),
        supervised: control::is_supervised(layout),
        keepers: keepers(layout),
        resident_bytes: programs.iter().filter_map(|program| program.resident_bytes).sum(),
        programs,
    };
    if json {
        output::json(&status)?
    } else {
        print(layout, &status)
    }
    let is_running = status.programs.iter().any(|program| program.pid.is_some());
    let is_well = status.supervised && status.programs.iter().all(ProgramStatus::is_well);
    Ok(match (is_running || status.supervised, is_well) {
        (_, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(EXIT_STOPPED),
    })
}

fn keepers(layout: &Layout) -> BTreeMap<&'static str, u32> {
    let names = [Role::Supervisor, Role::Guardian].map(Role::name);
    names.into_iter().filter_map(|name| Some((name, holder(layout, name)?.pid))).collect()
}

fn print(layout: &Layout, status: &Status) {
    output::line(format_args!("node {} · {} · {}", status.node, status.api, status.data.display()));
    let headers = ["PROGRAM", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY", "HEALTH"];
    output::table(&headers, status.programs.iter().map(row).collect());
    output::line(format_args!("together {} resident", mebibytes(status.resident_bytes)));
    if !status.supervised {
        output::line(format_args!(
            "Nothing keeps them running; `clusterctl up{}` does.",
            data_flag(layout)
        ));
    }
}

fn row(status: &ProgramStatus) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let health = match (status.pid, &status.last_end) {
        (None, Some(end)) => format!("last end: {end}"),
        (None, None) => "-".to_owned(),
        (Some(_), _) => status.health.words(),
    };
    vec![
        status.name.to_owned(),
        status.state.to_owned(),
        or_dash(status.pid.map(|pid| pid.to_string())),
        or_dash(status.uptime_seconds.map(uptime)),
        status.restarts.to_string(),
        or_dash(status.resident_bytes.map(mebibytes)),
        health,
    ]
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The two largest units.
fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        (_, _, _) => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_are_short() {
        let shown = [5, 65, 3_700, 90_000].map(uptime);
        assert_eq!(shown, ["5s", "1m5s", "1h1m", "1d1h"]);
    }
}
