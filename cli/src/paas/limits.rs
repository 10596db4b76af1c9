//! Memory and CPU limits by process type.

use std::collections::BTreeMap;

use clap::Args;
use http::Method;
use proto::api;

use super::failure::Failure;
use super::ps::process_type;
use super::rollout::{self, Wait};
use super::target::{Json, OnApp};
use crate::output;

/// In a patch, what removes a limit.
const NONE: &str = "none";

/// Show the limits
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl limits")]
pub struct List {
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Set limits; memory unless --cpu
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl limits:set web=512M worker=1G
  paasctl limits:set --cpu web=0.5")]
pub struct Set {
    /// TYPE=LIMIT: 512M, 1G; with --cpu cores: 0.5, 2, 250m
    #[arg(required = true, value_name = "TYPE=LIMIT")]
    pairs: Vec<String>,
    #[command(flatten)]
    kind: Kind,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Remove limits; memory unless --cpu
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl limits:unset worker")]
pub struct Unset {
    /// The process types
    #[arg(required = true, value_name = "TYPE")]
    processes: Vec<String>,
    #[command(flatten)]
    kind: Kind,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Which limit.
#[derive(Args)]
pub struct Kind {
    /// Memory (this is what is meant when nothing is said)
    #[arg(short, long, conflicts_with = "cpu")]
    memory: bool,
    /// CPU cores
    #[arg(short, long)]
    cpu: bool,
}

impl List {
    /// Shows them.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let limits: api::LimitsByProcess = app.get("limits").await?;
        if self.json.json {
            return Ok(output::json(&limits)?);
        }
        let text = |limit: Option<String>| limit.unwrap_or_else(|| "-".to_owned());
        let rows = limits
            .limits
            .into_iter()
            .map(|(process, limit)| vec![process, text(limit.memory), text(limit.cpu)]);
        output::table(&["TYPE", "MEMORY", "CPU"], rows.collect());
        Ok(())
    }
}

impl Set {
    /// Sets them.
    pub async fn run(self) -> Result<(), Failure> {
        let mut limits = BTreeMap::new();
        for pair in &self.pairs {
            let wrong = || {
                Failure::usage(format!("`{pair}` is not TYPE=LIMIT; nothing was changed"))
                    .hint("Write it like web=512M, or --cpu web=0.5")
            };
            let (process, limit) =
                pair.split_once('=').filter(|(_, limit)| !limit.is_empty()).ok_or_else(wrong)?;
            process_type(process)?;
            if limits.insert(process.to_owned(), self.kind.limit(limit)).is_some() {
                return Err(Failure::usage(format!(
                    "{process} is named twice; nothing was changed"
                )));
            }
        }
        change(&self.app, &self.wait, limits, &self.pairs.join(" ")).await
    }
}

impl Unset {
    /// Removes them.
    pub async fn run(self) -> Result<(), Failure> {
        let mut limits = BTreeMap::new();
        for process in &self.processes {
            process_type(process)?;
            limits.insert(process.clone(), self.kind.limit(NONE));
        }
        change(
            &self.app,
            &self.wait,
            limits,
            &format!("without a limit: {}", self.processes.join(" ")),
        )
        .await
    }
}

impl Kind {
    fn limit(&self, text: &str) -> api::LimitsInfo {
        let text = Some(text.to_owned());
        match self.cpu {
            true => api::LimitsInfo { memory: None, cpu: text },
            false => api::LimitsInfo { memory: text, cpu: None },
        }
    }
}

async fn change(
    app: &OnApp,
    wait: &Wait,
    limits: BTreeMap<String, api::LimitsInfo>,
    what: &str,
) -> Result<(), Failure> {
    let app = app.open().await?;
    let change = app.send(Method::PATCH, "limits", &api::LimitsByProcess { limits }).await?;
    rollout::follow(&app, &change, wait, what).await
}
