//! Accounts: listed, deleted, and who may make one.

use clap::Args;
use http::Method;
use proto::api;
use serde::de::IgnoredAny;

use super::client::segment;
use super::failure::Failure;
use super::listing::Listing;
use super::moment;
use super::prompt;
use super::target::{Json, OnCluster};
use crate::output::line;

/// List all users
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl users")]
pub struct List {
    #[command(flatten)]
    cluster: OnCluster,
    #[command(flatten)]
    json: Json,
}

/// Delete an account with its keys and tokens; your own, or as an administrator another's
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl users:delete bob
  paasctl users:delete bob --confirm bob     in scripts")]
pub struct Delete {
    /// Who
    user: String,
    /// The name once more, instead of typing it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    cluster: OnCluster,
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
        let listing = Listing {
            when_empty: "No users.",
            headers: &["USER", "ROLE", "EMAIL", "CREATED"],
            row: |user: api::UserInfo| {
                let role = if user.is_admin { "administrator" } else { "user" };
                vec![user.username, role.to_owned(), user.email, moment::local(&user.created)]
            },
        };
        listing.print(users, &self.json)
    }
}

impl Delete {
    /// Deletes it.
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.cluster.open()?;
        let what = format!("The account {} will be gone with its keys and tokens.", self.user);
        prompt::confirm_name(&self.user, self.confirm.as_deref(), &what)?;
        let user = segment(&self.user);
        let _: IgnoredAny = client.delete(&format!("/v1/users/{user}?confirm={user}")).await?;
        line(format!("{} is gone.", self.user));
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
