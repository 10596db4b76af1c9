//! Processes: list, scale, restart, stop, start.

use std::collections::BTreeMap;

use clap::Args;
use http::Method;
use model::name::ProcessType;
use proto::api;

use super::failure::Failure;
use super::moment;
use super::rollout::{self, Wait};
use super::target::{App, Json, OnApp};
use crate::output::{self, line};

/// Show an app's processes, and what they wait for
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl ps
  paasctl ps --json -a shop")]
pub struct List {
    #[command(flatten)]
    app: OnApp,
    #[command(flatten)]
    json: Json,
}

/// Set how many units run of each type
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl scale web=3 worker=1
  paasctl scale worker=0
  paasctl scale --plan web=5")]
pub struct Scale {
    /// TYPE=COUNT; types not named stay as they are
    #[arg(required = true, value_name = "TYPE=COUNT")]
    counts: Vec<String>,
    /// Only tell where units would go, what would stop for them and what would wait
    #[arg(long)]
    plan: bool,
    /// With --plan: print what the API answered, as JSON
    #[arg(long, requires = "plan")]
    json: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Which types.
#[derive(Args)]
pub struct Selection {
    /// Process types; none: all
    #[arg(value_name = "TYPE")]
    processes: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Restart units one for one, without a pause for visitors
#[derive(Args)]
#[command(after_help = "Examples:\n  paasctl restart\n  paasctl restart web")]
pub struct Restart {
    #[command(flatten)]
    selection: Selection,
}

/// Stop units; their counts are kept for ps:start
#[derive(Args)]
#[command(after_help = "Examples:\n  paasctl ps:stop worker\n  paasctl ps:start worker")]
pub struct Stop {
    #[command(flatten)]
    selection: Selection,
}

/// Start what ps:stop stopped
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl ps:start worker")]
pub struct Start {
    #[command(flatten)]
    selection: Selection,
}

impl List {
    /// Shows them.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let processes: api::Processes = app.get("ps").await?;
        if self.json.json {
            return Ok(output::json(&processes)?);
        }
        if processes.formation.is_empty() && processes.units.is_empty() {
            eprintln!("Nothing is deployed yet. Push: git push deis master");
            return Ok(());
        }
        print(&processes);
        Ok(())
    }
}

fn print(processes: &api::Processes) {
    let ready = |process: &str| {
        processes
            .units
            .iter()
            .filter(|unit| unit.process == process && unit.state == "ready")
            .count()
    };
    let row = |(name, formation): (&String, &api::ProcessFormation)| {
        let wanted = match formation.stopped {
            true => format!("{} (stopped)", formation.count),
            false => formation.count.to_string(),
        };
        let command = formation.command.clone().unwrap_or_else(|| "(the image's own)".to_owned());
        vec![name.clone(), wanted, ready(name).to_string(), command]
    };
    output::table(
        &["TYPE", "WANTED", "READY", "COMMAND"],
        processes.formation.iter().map(row).collect(),
    );
    if !processes.units.is_empty() {
        line("");
        let headers = ["UNIT", "STATE", "RELEASE", "NODE", "SINCE", "RESTARTS", "REASON"];
        output::table(&headers, processes.units.iter().map(unit).collect());
    }
    for (name, formation) in &processes.formation {
        if let Some(waiting) = &formation.waiting {
            line(format!("\n !     {name} waits: {waiting}"));
        }
    }
}

fn unit(unit: &api::UnitInfo) -> Vec<String> {
    vec![
        unit.name.clone(),
        unit.state.clone(),
        unit.release.clone(),
        unit.node.clone().unwrap_or_else(|| "-".to_owned()),
        unit.since.as_deref().map(moment::local).unwrap_or_default(),
        unit.restarts.to_string(),
        unit.reason.clone().unwrap_or_default(),
    ]
}

impl Scale {
    /// Scales.
    pub async fn run(self) -> Result<(), Failure> {
        let counts = counts(&self.counts)?;
        let app = self.app.open().await?;
        if self.plan {
            return plan(&app, counts, self.json).await;
        }
        let what = self.counts.join(" ");
        let change = app.send(Method::POST, "scale", &api::ScaleRequest { counts }).await?;
        rollout::follow(&app, &change, &self.wait, &what).await
    }
}

async fn plan(app: &App, counts: BTreeMap<String, u32>, as_json: bool) -> Result<(), Failure> {
    let request = api::ScaleRequest { counts };
    let plan: api::ScalePlan = app.send(Method::POST, "scale/plan", &request).await?;
    if as_json {
        return Ok(output::json(&plan)?);
    }
    let rows = |what: &str, units: Vec<api::PlannedUnit>| {
        let row = |unit: api::PlannedUnit| vec![what.to_owned(), unit.app, unit.name, unit.node];
        units.into_iter().map(row).collect::<Vec<_>>()
    };
    let mut all = rows("start", plan.starts);
    all.extend(rows("stop", plan.stops));
    all.extend(rows("stop for room", plan.preempts));
    match all.is_empty() {
        true => line("No unit would start or stop."),
        false => output::table(&["WOULD", "APP", "UNIT", "NODE"], all),
    }
    for waits in plan.waits {
        line(format!(" !     {waits}"));
    }
    if let Some(said) = plan.beyond_reserve {
        line(format!(" !     beyond the reserve: {said}"));
    }
    line("Nothing was changed.");
    Ok(())
}

impl Restart {
    /// Restarts.
    pub async fn run(self) -> Result<(), Failure> {
        self.selection.change("restart", "restarted").await
    }
}

impl Stop {
    /// Stops.
    pub async fn run(self) -> Result<(), Failure> {
        self.selection.change("stop", "stopped").await
    }
}

impl Start {
    /// Starts.
    pub async fn run(self) -> Result<(), Failure> {
        self.selection.change("start", "started").await
    }
}

impl Selection {
    async fn change(self, verb: &str, done: &str) -> Result<(), Failure> {
        for process in &self.processes {
            process_type(process)?;
        }
        let app = self.app.open().await?;
        let what = match self.processes.is_empty() {
            true => done.to_owned(),
            false => format!("{done}: {}", self.processes.join(" ")),
        };
        let selection = api::ProcessSelection { processes: self.processes };
        let change = app.send(Method::POST, verb, &selection).await?;
        rollout::follow(&app, &change, &self.wait, &what).await
    }
}

/// Reads a process type; a unit's name is a common mistake.
pub fn process_type(text: &str) -> Result<ProcessType, Failure> {
    text.parse().map_err(|error: model::name::NameError| {
        Failure::usage(format!("`{text}` is not a process type"))
            .hint(format!("A type has {}: web, worker.", error.rule()))
    })
}

/// All pairs, or a refusal of all.
fn counts(pairs: &[String]) -> Result<BTreeMap<String, u32>, Failure> {
    let mut counts = BTreeMap::new();
    for pair in pairs {
        let wrong = |why: &str| {
            Failure::usage(format!("`{pair}` is not TYPE=COUNT: {why}; nothing was scaled"))
                .hint("Write it like web=3 worker=1")
        };
        let (process, count) = pair.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
        process_type(process)?;
        let count = count.parse().map_err(|_| wrong("the count is not a number from 0"))?;
        if counts.insert(process.to_owned(), count).is_some() {
            return Err(wrong("the type is named twice"));
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_count_refuses_all() {
        let read = |pairs: &[&str]| {
            counts(&pairs.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(&["web=3", "worker=0"]).unwrap().len(), 2);
        for wrong in ["web", "web=", "web=-1", "web=x", "=3", "web.1=3", "web=99999999999"] {
            assert!(read(&["worker=1", wrong]).is_err(), "{wrong}");
        }
        assert!(read(&["web=1", "web=2"]).is_err());
    }
}
