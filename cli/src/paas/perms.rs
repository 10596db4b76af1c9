//! Who else may operate an app.

use clap::Args;
use http::Method;
use proto::api;
use serde::de::IgnoredAny;

use super::failure::Failure;
use super::target::{Json, OnApp};
use crate::output::{self, line};

/// List an app's collaborators
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl perms -a shop")]
pub struct List {
    #[command(flatten)]
    app: OnApp,
    #[command(flatten)]
    json: Json,
}

/// Let another user operate an app
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl perms:add bob -a shop")]
pub struct Add {
    /// Who
    user: String,
    #[command(flatten)]
    app: OnApp,
}

/// Take a collaborator's rights
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl perms:remove bob -a shop")]
pub struct Remove {
    /// Who
    user: String,
    #[command(flatten)]
    app: OnApp,
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let users: Vec<String> = app.get("perms").await?;
        if self.json.json {
            return Ok(output::json(&users)?);
        }
        if users.is_empty() {
            eprintln!("Nobody but the owner. Add somebody: paasctl perms:add USER -a {}", app.name);
        }
        users.iter().for_each(line);
        Ok(())
    }
}

impl Add {
    /// Adds one.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let new = api::NewCollaborator { username: self.user };
        let _: IgnoredAny = app.send(Method::POST, "perms", &new).await?;
        line(format!("{} may operate {} now.", new.username, app.name));
        Ok(())
    }
}

impl Remove {
    /// Removes one.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        app.remove("perms", &self.user).await?;
        line(format!("{} may no longer operate {}.", self.user, app.name));
        Ok(())
    }
}
