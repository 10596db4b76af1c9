//! The maintenance page.

use clap::Args;
use http::Method;
use proto::api;

use super::failure::Failure;
use super::target::{Json, OnApp};
use crate::output::{self, line};

/// Show whether visitors see the maintenance page
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl maintenance")]
pub struct Info {
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Show visitors the maintenance page; the units keep running
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl maintenance:on")]
pub struct On {
    #[command(flatten)]
    app: OnApp,
}

/// Let visitors in again
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl maintenance:off")]
pub struct Off {
    #[command(flatten)]
    app: OnApp,
}

impl Info {
    /// Shows it.
    pub async fn run(self) -> Result<(), Failure> {
        let app: api::AppInfo = self.app.open().await?.get("").await?;
        if self.json.json {
            return Ok(output::json(&api::Maintenance { on: app.maintenance })?);
        }
        say(&app);
        Ok(())
    }
}

impl On {
    /// Shows the page.
    pub async fn run(self) -> Result<(), Failure> {
        set(&self.app, true).await
    }
}

impl Off {
    /// Hides the page.
    pub async fn run(self) -> Result<(), Failure> {
        set(&self.app, false).await
    }
}

async fn set(app: &OnApp, on: bool) -> Result<(), Failure> {
    let app = app.open().await?;
    say(&app.send(Method::PUT, "maintenance", &api::Maintenance { on }).await?);
    Ok(())
}

fn say(app: &api::AppInfo) {
    line(format!("Maintenance of {} is {}.", app.name, if app.maintenance { "on" } else { "off" }));
}
