//! Log lines of an app: the last ones, and those to come.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use console::Style;
use proto::api::LogLine;
use proto::problem::Problem;
use serde::Deserialize;

use super::client::segment;
use super::failure::Failure;
use super::moment;
use super::sse::End;
use super::target::{App, Json, OnApp};
use crate::output;

const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often in a row following may fail before we give up.
const MAX_RETRIES: u32 = 60;

/// Show an app's log: its processes, builds and the platform's events
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl logs -n 500
  paasctl logs -f --ps web
  paasctl logs --ps web.2 --since 10m
  paasctl logs --json | jq -r .text")]
pub struct Logs {
    /// How many of the last lines; default 100, or all with --since
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u32>,
    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Only of web.2, web, build, platform
    #[arg(long, value_name = "PROCESS")]
    ps: Option<String>,
    /// Only since then: 10m, 2h, 2026-05-04T10:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// What a stream of lines holds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Line(LogLine),
    /// Why there are no more.
    Problem(Problem),
}

/// What was printed last, to go on behind it after a broken connection.
#[derive(Debug, Default)]
struct Seen {
    at: String,
    at_that_moment: Vec<LogLine>,
}

impl Logs {
    /// Shows them.
    pub async fn run(self) -> Result<(), Failure> {
        let since = self
            .since
            .as_deref()
            .map(|since| moment::since(since, jiff::Timestamp::now()))
            .transpose()?;
        let app = self.app.open().await?;
        let mut seen = Seen::default();
        let mut path = self.path(&app, since.as_deref(), self.lines);
        let mut failures = 0;
        loop {
            let ended = self.print(&app, &path, &mut seen, &mut failures).await;
            match ended {
                Ok(End::Complete) if !self.follow => return Ok(()),
                Ok(End::Broken) if !self.follow => {
                    return Err(Failure::unreachable("the connection to the controller broke"));
                }
                Ok(End::Complete | End::Broken) => {}
                Err(failure)
                    if self.follow
                        && failure.is_passing()
                        && (failures > 0 || !seen.at.is_empty())
                        && failures < MAX_RETRIES => {}
                Err(failure) => return Err(failure),
            }
            failures += 1;
            if failures >= MAX_RETRIES {
                return Err(Failure::unreachable(
                    "the connection to the controller broke again and again",
                ));
            }
            if !seen.at.is_empty() {
                path = self.path(&app, Some(&seen.at), None);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn print(
        &self,
        app: &App,
        path: &str,
        seen: &mut Seen,
        failures: &mut u32,
    ) -> Result<End, Failure> {
        let mut events = app.client.events(path).await?;
        let mut repeated = seen.at_that_moment.clone();
        loop {
            let data = match events.next().await {
                Ok(data) => data,
                Err(end) => return Ok(end),
            };
            let told = serde_json::from_str(&data)
                .map_err(|error| Failure::refused(format!("a log line cannot be read: {error}")))?;
            let line = match told {
                Told::Line(line) => line,
                Told::Problem(problem) => return Err(problem.into()),
            };
            *failures = 0;
            if let Some(place) = repeated.iter().position(|known| *known == line) {
                repeated.swap_remove(place);
                continue;
            }
            self.print_line(&line)?;
            seen.add(line);
        }
    }

    fn print_line(&self, line: &LogLine) -> Result<(), Failure> {
        if self.json.json {
            let text =
                serde_json::to_string(line).map_err(|error| Failure::local("write JSON", error))?;
            output::line(text);
            return Ok(());
        }
        let head = format!("{} {}:", moment::local(&line.at), line.process);
        let head = if std::io::stdout().is_terminal() {
            colour(&line.process).apply_to(head).to_string()
        } else {
            head
        };
        output::line(format!("{head} {}", line.text));
        Ok(())
    }

    fn path(&self, app: &App, since: Option<&str>, lines: Option<u32>) -> String {
        let mut query = vec![format!("follow={}", self.follow)];
        query.extend(lines.map(|lines| format!("lines={lines}")));
        query.extend(self.ps.as_ref().map(|process| format!("process={}", segment(process))));
        query.extend(since.map(|since| format!("since={}", segment(since))));
        app.path(&format!("logs?{}", query.join("&")))
    }
}

impl Seen {
    fn add(&mut self, line: LogLine) {
        if line.at != self.at {
            self.at.clone_from(&line.at);
            self.at_that_moment.clear();
        }
        self.at_that_moment.push(line);
    }
}

/// The same process has the same colour every time.
fn colour(process: &str) -> Style {
    let sum =
        process.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let colours = [
        Style::new().cyan(),
        Style::new().green(),
        Style::new().yellow(),
        Style::new().blue(),
        Style::new().magenta(),
    ];
    colours[sum % colours.len()].clone()
}
