//! API tokens for scripts.

use clap::{Args, ValueEnum};
use http::Method;
use proto::api;

use super::failure::Failure;
use super::listing::Listing;
use super::moment;
use super::target::{Json, OnCluster};
use crate::output::{self, line};

/// What a token may do.
#[derive(Clone, Copy, ValueEnum)]
enum Scope {
    /// Look
    Read,
    /// Look, push and operate apps
    Deploy,
    /// Everything you may
    Full,
}

/// Make a token for a script; it is shown once
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl tokens:create ci --scope deploy --days 90
  TRIREME_URL=https://deis.example.com:8000 TRIREME_TOKEN=... paasctl ps -a shop")]
pub struct Create {
    /// What it is for
    label: String,
    /// What it may do
    #[arg(long, value_enum, default_value_t = Scope::Deploy)]
    scope: Scope,
    /// Days until it ends; else it lasts until removed
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    #[command(flatten)]
    cluster: OnCluster,
    #[command(flatten)]
    json: Json,
}

/// List your tokens
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl tokens")]
pub struct List {
    #[command(flatten)]
    cluster: OnCluster,
    #[command(flatten)]
    json: Json,
}

/// Revoke a token
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl tokens:remove ID     (ids: paasctl tokens)")]
pub struct Remove {
    /// Its id in the list
    id: String,
    #[command(flatten)]
    cluster: OnCluster,
}

impl Create {
    /// Makes it.
    pub async fn run(self) -> Result<(), Failure> {
        let scope = self.scope.to_possible_value().map(|value| value.get_name().to_owned());
        let new = api::NewToken {
            label: self.label,
            scope: scope.unwrap_or_default(),
            expires_days: self.days,
        };
        let session: api::Session =
            self.cluster.open()?.send(Method::POST, "/v1/auth/tokens", &new).await?;
        if self.json.json {
            return Ok(output::json(&session)?);
        }
        eprintln!("Token {} of {}. It is shown only now:", session.id, session.username);
        line(session.token);
        Ok(())
    }
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let tokens: Vec<api::TokenInfo> = self.cluster.open()?.get("/v1/auth/tokens").await?;
        let listing = Listing {
            when_empty: "No tokens.",
            headers: &["ID", "FOR", "SCOPE", "CREATED", "ENDS"],
            row,
        };
        listing.print(tokens, &self.json)
    }
}

fn row(token: api::TokenInfo) -> Vec<String> {
    let label = if token.current { format!("{} (this one)", token.label) } else { token.label };
    let expires = token.expires.map_or_else(|| "never".to_owned(), |at| moment::local(&at));
    vec![token.id, label, token.scope, moment::local(&token.created), expires]
}

impl Remove {
    /// Revokes it.
    pub async fn run(self) -> Result<(), Failure> {
        self.cluster.open()?.remove("/v1/auth/tokens", &self.id).await?;
        line(format!("Token {} no longer works.", self.id));
        Ok(())
    }
}
