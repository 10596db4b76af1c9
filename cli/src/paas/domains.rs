//! An app's own host names.

use clap::Args;
use http::Method;
use model::name::Hostname;
use proto::api;

use super::failure::Failure;
use super::listing::Listing;
use super::moment;
use super::target::{Json, OnApp};
use crate::output::line;

/// List an app's host names
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl domains")]
pub struct List {
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Let an app answer to a host name
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl domains:add www.example.com
  paasctl domains:add '*.shop.example.com'")]
pub struct Add {
    /// The name; its first label may be `*`
    host: String,
    #[command(flatten)]
    app: OnApp,
}

/// Take a host name from an app
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl domains:remove www.example.com")]
pub struct Remove {
    /// The name
    host: String,
    #[command(flatten)]
    app: OnApp,
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let domains: Vec<api::DomainInfo> = self.app.open().await?.get("domains").await?;
        let listing = Listing {
            when_empty: "No host names of its own. Add one: paasctl domains:add HOST",
            headers: &["HOST", "CERTIFICATE", "ADDED"],
            row: |domain: api::DomainInfo| {
                let certificate = domain.certificate.unwrap_or_else(|| "the platform's".to_owned());
                vec![domain.host, certificate, moment::local(&domain.created)]
            },
        };
        listing.print(domains, &self.json)
    }
}

impl Add {
    /// Adds it.
    pub async fn run(self) -> Result<(), Failure> {
        let host = host(&self.host)?;
        let app = self.app.open().await?;
        let domain: api::DomainInfo =
            app.send(Method::POST, "domains", &api::NewDomain { host }).await?;
        line(format!("{} leads to {} as soon as its DNS does.", domain.host, app.name));
        if domain.certificate.is_none() {
            line("For HTTPS without a warning: paasctl certs:add NAME CHAIN KEY");
        }
        Ok(())
    }
}

impl Remove {
    /// Removes it.
    pub async fn run(self) -> Result<(), Failure> {
        let host = host(&self.host)?;
        let app = self.app.open().await?;
        app.remove("domains", &host).await?;
        line(format!("{host} no longer leads to {}.", app.name));
        Ok(())
    }
}

/// Names are the same in any case and with a dot at the end.
fn host(text: &str) -> Result<String, Failure> {
    let plain = text.trim_end_matches('.').to_ascii_lowercase();
    plain.parse::<Hostname>().map(String::from).map_err(|error| {
        Failure::usage(format!("`{text}` is not a host name"))
            .hint(format!("A name has {}.", error.rule()))
    })
}
