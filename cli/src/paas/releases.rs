//! Releases: list, info, rollback.

use clap::Args;
use http::Method;
use proto::api;

use super::failure::Failure;
use super::listing::Listing;
use super::moment;
use super::rollout::{self, Wait};
use super::target::{Json, OnApp};
use crate::output::{self, line};

/// List the releases, newest first
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl releases -n 20")]
pub struct List {
    /// Only the newest
    #[arg(short, long, value_name = "COUNT")]
    number: Option<usize>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Show a release
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl releases:info v7")]
pub struct Info {
    /// v7
    release: String,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Go back to an earlier release, as a new one
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl rollback          to the last one that worked before this one
  paasctl rollback v3")]
pub struct Rollback {
    /// v3
    release: Option<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let mut releases: Vec<api::ReleaseInfo> = self.app.open().await?.get("releases").await?;
        releases.truncate(self.number.unwrap_or(usize::MAX));
        let listing = Listing {
            when_empty: "Nothing is deployed yet. Push: git push deis master",
            headers: &["RELEASE", "STATE", "CREATED", "BY", "WHAT"],
            row,
        };
        listing.print(releases, &self.json)
    }
}

fn row(release: api::ReleaseInfo) -> Vec<String> {
    let name = format!("{}{}", release.release, if release.current { " *" } else { "" });
    let created = moment::local(&release.created);
    vec![name, release.state, created, release.created_by, release.summary]
}

impl Info {
    /// Shows it.
    pub async fn run(self) -> Result<(), Failure> {
        let number = number(&self.release)?;
        let app = self.app.open().await?;
        let release: api::ReleaseInfo = app.get(&format!("releases/v{number}")).await?;
        if self.json.json {
            return Ok(output::json(&release)?);
        }
        let none = || "-".to_owned();
        let state =
            if release.current { format!("{}, in force", release.state) } else { release.state };
        let rows = [
            ("Release", release.release),
            ("State", state),
            ("What", release.summary),
            ("Created", format!("{} by {}", moment::local(&release.created), release.created_by)),
            ("Commit", release.commit.unwrap_or_else(none)),
            ("Image", release.image.unwrap_or_else(none)),
            ("Variables", release.config_keys.join(", ")),
            ("Reason", release.reason.unwrap_or_else(none)),
        ];
        for (name, value) in rows {
            line(format!("{name:<10} {value}").trim_end());
        }
        for (process, command) in release.processes {
            line(format!("  {process}: {}", command.as_deref().unwrap_or("(the image's own)")));
        }
        Ok(())
    }
}

impl Rollback {
    /// Goes back.
    pub async fn run(self) -> Result<(), Failure> {
        let to =
            self.release.as_deref().map(number).transpose()?.map(|number| format!("v{number}"));
        let app = self.app.open().await?;
        let what =
            to.as_ref().map_or_else(|| "rolled back".to_owned(), |to| format!("is {to} again"));
        let change = app.send(Method::POST, "rollback", &api::Rollback { to }).await?;
        rollout::follow(&app, &change, &self.wait, &what).await
    }
}

/// `v7` or `7`.
fn number(text: &str) -> Result<u64, Failure> {
    let number = text.strip_prefix('v').unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        Failure::usage(format!("`{text}` is not a release; they are called v1, v2, ..."))
    })
}
