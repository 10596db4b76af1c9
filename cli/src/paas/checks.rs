//! Health checks by process type.

use clap::{Args, ValueEnum};
use http::Method;
use proto::api;

use super::client::segment;
use super::failure::Failure;
use super::ps::process_type;
use super::rollout::{self, Wait};
use super::target::{Json, OnApp};
use crate::output;

/// How a unit is checked.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A request to PORT is answered with an expected status
    Http,
    /// PORT takes connections
    Tcp,
    /// A command in the container ends with 0
    Exec,
    /// The process runs
    Running,
}

/// Show the checks, defaults included
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl checks")]
pub struct List {
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Set how units of a type prove that they are well
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl checks:set web http --path /health --status 200-299 --grace 30
  paasctl checks:set web tcp
  paasctl checks:set worker exec -- celery -A app inspect ping")]
pub struct Set {
    /// The process type
    process: String,
    /// How
    kind: Kind,
    /// http: path; default /
    #[arg(long)]
    path: Option<String>,
    /// http: method; default GET
    #[arg(long)]
    method: Option<String>,
    /// http: Host header
    #[arg(long)]
    host: Option<String>,
    /// http: expected status, 200 or 200-399 (the default)
    #[arg(long)]
    status: Option<String>,
    /// Seconds a new unit has to become ready; default 60
    #[arg(long, value_name = "SECONDS")]
    grace: Option<f64>,
    /// Seconds between checks; default 5
    #[arg(long, value_name = "SECONDS")]
    period: Option<f64>,
    /// Seconds an answer may take; default 5
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Successes until ready; default 1
    #[arg(long, value_name = "COUNT")]
    rise: Option<u32>,
    /// Failures until restarted; default 3
    #[arg(long, value_name = "COUNT")]
    fall: Option<u32>,
    /// exec: the command, after `--`
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Go back to a type's default check
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl checks:unset web")]
pub struct Unset {
    /// The process type
    process: String,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

impl List {
    /// Shows them.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let checks: api::ChecksByProcess = app.get("checks").await?;
        if self.json.json {
            return Ok(output::json(&checks)?);
        }
        let row = |(process, check): (String, api::CheckInfo)| {
            let times = [
                ("grace", check.grace_seconds),
                ("period", check.period_seconds),
                ("timeout", check.timeout_seconds),
            ];
            let times = times
                .iter()
                .filter_map(|(name, seconds)| seconds.map(|seconds| format!("{name} {seconds}s")));
            let counts = [("rise", check.rise), ("fall", check.fall)];
            let counts = counts
                .iter()
                .filter_map(|(name, count)| count.map(|count| format!("{name} {count}")));
            let times = times.chain(counts).collect::<Vec<_>>().join(", ");
            vec![process, check.kind.clone(), what(&check), times]
        };
        output::table(
            &["TYPE", "CHECK", "WHAT", "TIMES"],
            checks.checks.into_iter().map(row).collect(),
        );
        Ok(())
    }
}

fn what(check: &api::CheckInfo) -> String {
    let named =
        |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}{value}"));
    let parts = [
        named("", &check.method),
        named("", &check.path),
        named("host ", &check.host),
        named("expects ", &check.status),
    ];
    let words: Vec<String> =
        parts.into_iter().flatten().chain(check.command.iter().cloned()).collect();
    words.join(" ")
}

impl Set {
    /// Sets it.
    pub async fn run(self) -> Result<(), Failure> {
        process_type(&self.process)?;
        self.check_options()?;
        let app = self.app.open().await?;
        let kind = self.kind.to_possible_value().map(|value| value.get_name().to_owned());
        let check = api::CheckInfo {
            kind: kind.unwrap_or_default(),
            method: self.method,
            path: self.path,
            host: self.host,
            status: self.status,
            command: self.command,
            grace_seconds: self.grace,
            period_seconds: self.period,
            timeout_seconds: self.timeout,
            rise: self.rise,
            fall: self.fall,
        };
        let path = format!("checks/{}", segment(&self.process));
        let change = app.send(Method::PUT, &path, &check).await?;
        rollout::follow(
            &app,
            &change,
            &self.wait,
            &format!("checks {} by {}", self.process, check.kind),
        )
        .await
    }

    /// An option that would do nothing is a mistake.
    fn check_options(&self) -> Result<(), Failure> {
        let of_http = self.path.is_some()
            || self.method.is_some()
            || self.host.is_some()
            || self.status.is_some();
        if of_http && self.kind != Kind::Http {
            return Err(Failure::usage(
                "--path, --method, --host and --status are for http checks",
            ));
        }
        match (self.kind, self.command.is_empty()) {
            (Kind::Exec, true) => Err(Failure::usage("an exec check needs its command")
                .hint("paasctl checks:set worker exec -- COMMAND ARGUMENTS")),
            (Kind::Http | Kind::Tcp | Kind::Running, false) => {
                Err(Failure::usage("a command is for exec checks"))
            }
            (Kind::Exec, false) | (Kind::Http | Kind::Tcp | Kind::Running, true) => Ok(()),
        }
    }
}

impl Unset {
    /// Removes it.
    pub async fn run(self) -> Result<(), Failure> {
        process_type(&self.process)?;
        let app = self.app.open().await?;
        let change = app.delete(&format!("checks/{}", segment(&self.process))).await?;
        rollout::follow(&app, &change, &self.wait, &format!("checks {} by default", self.process))
            .await
    }
}
