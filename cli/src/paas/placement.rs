//! Where units may run, and what goes first: tags, classes, exclusive types.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use http::Method;
use proto::api;

use super::failure::Failure;
use super::pairs;
use super::ps::process_type;
use super::rollout::{self, Wait};
use super::target::{Json, OnApp};
use crate::output::{self, line};

/// Show the app's class, and what its types ask of nodes
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl tags")]
pub struct List {
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Run a type only on nodes with these labels
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl tags:set web disk=ssd
  paasctl tags:set web env=prod zone=a")]
pub struct Set {
    /// The process type
    #[arg(value_name = "TYPE")]
    process: String,
    /// LABEL=VALUE, as `clusterctl nodes:label` gave it
    #[arg(required = true, value_name = "LABEL=VALUE")]
    pairs: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Ask no longer for these labels
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl tags:unset web disk")]
pub struct Unset {
    /// The process type
    #[arg(value_name = "TYPE")]
    process: String,
    /// The labels
    #[arg(required = true, value_name = "LABEL")]
    labels: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// What goes first when there is not room for all.
#[derive(Clone, Copy, ValueEnum)]
enum Class {
    Production,
    Standard,
    Preview,
}

/// Say what goes first when there is not room for all; administrators make apps production ones
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl class:set production")]
pub struct ClassSet {
    /// The class
    #[arg(value_enum)]
    class: Class,
    #[command(flatten)]
    app: OnApp,
}

/// Which type.
#[derive(Args)]
pub struct Selection {
    /// The process type
    #[arg(value_name = "TYPE")]
    process: String,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Never run two of one number of a type: the old unit ends before the new one starts
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl exclusive:on clock")]
pub struct ExclusiveOn {
    #[command(flatten)]
    selection: Selection,
}

/// Let new units of a type start beside the old ones again
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl exclusive:off clock")]
pub struct ExclusiveOff {
    #[command(flatten)]
    selection: Selection,
}

impl List {
    /// Shows them.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let placement: api::Placement = app.get("placement").await?;
        if self.json.json {
            return Ok(output::json(&placement)?);
        }
        line(format!("Class of {}: {}", app.name, placement.class));
        let rows = placement.types.into_iter().map(|(process, own)| {
            vec![
                process,
                pairs::shown(&own.tags),
                if own.exclusive { "yes" } else { "no" }.to_owned(),
            ]
        });
        output::table(&["TYPE", "TAGS", "EXCLUSIVE"], rows.collect());
        Ok(())
    }
}

impl Set {
    /// Sets them.
    pub async fn run(self) -> Result<(), Failure> {
        let example = "paasctl tags:set web disk=ssd";
        let tags = pairs::read(&self.pairs, "LABEL=VALUE", example, |value| !value.is_empty())?;
        let patch = api::TypePlacementPatch { tags, exclusive: None };
        let what = format!("{} on {}", self.process, self.pairs.join(" "));
        change(&self.app, &self.wait, self.process, patch, &what).await
    }
}

impl Unset {
    /// Removes them.
    pub async fn run(self) -> Result<(), Failure> {
        let tags = self.labels.iter().map(|label| (label.clone(), None)).collect();
        let patch = api::TypePlacementPatch { tags, exclusive: None };
        let what = format!("{} without {}", self.process, self.labels.join(" "));
        change(&self.app, &self.wait, self.process, patch, &what).await
    }
}

impl ClassSet {
    /// Sets it.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let class = match self.class {
            Class::Production => "production",
            Class::Standard => "standard",
            Class::Preview => "preview",
        };
        let wanted = api::AppClass { class: class.to_owned() };
        let placement: api::Placement = app.send(Method::PUT, "class", &wanted).await?;
        line(format!("Class of {}: {}", app.name, placement.class));
        Ok(())
    }
}

impl ExclusiveOn {
    /// Turns it on.
    pub async fn run(self) -> Result<(), Failure> {
        self.selection.set(true).await
    }
}

impl ExclusiveOff {
    /// Turns it off.
    pub async fn run(self) -> Result<(), Failure> {
        self.selection.set(false).await
    }
}

impl Selection {
    async fn set(self, exclusive: bool) -> Result<(), Failure> {
        let tags = BTreeMap::new();
        let patch = api::TypePlacementPatch { tags, exclusive: Some(exclusive) };
        let what = format!("{} exclusive: {}", self.process, if exclusive { "on" } else { "off" });
        change(&self.app, &self.wait, self.process, patch, &what).await
    }
}

async fn change(
    app: &OnApp,
    wait: &Wait,
    process: String,
    patch: api::TypePlacementPatch,
    what: &str,
) -> Result<(), Failure> {
    process_type(&process)?;
    let app = app.open().await?;
    let patch = api::PlacementPatch { types: BTreeMap::from([(process, patch)]) };
    let change = app.send(Method::PATCH, "placement", &patch).await?;
    rollout::follow(&app, &change, wait, what).await
}
