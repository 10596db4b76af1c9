//! What administrators do with accounts.

use clap::Args;
use http::Method;
use proto::api;

use super::failure::Failure;
use super::moment;
use super::target::{Json, OnCluster};
use crate::output::{self, line};

/// List all users
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl users")]
pub struct List {
    #[command(flatten)]
    cluster: OnCluster,
    #[command(flatten)]
    json: Json,
}

/// Let anybody register
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl registration:open")]
pub struct OpenRegistration {
    #[command(flatten)]
    cluster: OnCluster,
}

/// Let nobody register
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl registration:close")]
pub struct CloseRegistration {
    #[command(flatten)]
    cluster: OnCluster,
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let users: Vec<api::UserInfo> = self.cluster.open()?.get("/v1/users").await?;
        if self.json.json {
            return Ok(output::json(&users)?);
        }
        let row = |user: api::UserInfo| {
            let role = if user.is_admin { "administrator" } else { "user" };
            vec![user.username, role.to_owned(), user.email, moment::local(&user.created)]
        };
        output::table(&["USER", "ROLE", "EMAIL", "CREATED"], users.into_iter().map(row).collect());
        Ok(())
    }
}

impl OpenRegistration {
    /// Opens it.
    pub async fn run(self) -> Result<(), Failure> {
        set(&self.cluster, true).await
    }
}

impl CloseRegistration {
    /// Closes it.
    pub async fn run(self) -> Result<(), Failure> {
        set(&self.cluster, false).await
    }
}

async fn set(cluster: &OnCluster, open: bool) -> Result<(), Failure> {
    let wanted = api::RegistrationSetting { open };
    let setting: api::RegistrationSetting =
        cluster.open()?.send(Method::PUT, "/v1/settings/registration", &wanted).await?;
    line(if setting.open {
        "Anybody who reaches the controller may register now."
    } else {
        "Registration is closed."
    });
    Ok(())
}
