//! Volumes: folders that outlive an app's units, each on one node.

use std::collections::BTreeMap;

use clap::Args;
use http::Method;
use model::name::VolumeName;
use proto::api;
use serde::de::IgnoredAny;

use super::failure::Failure;
use super::listing::Listing;
use super::moment;
use super::pairs;
use super::prompt;
use super::ps::process_type;
use super::rollout::{self, Wait};
use super::target::{Json, OnApp};
use crate::output::line;

/// List an app's volumes
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl volumes")]
pub struct List {
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    app: OnApp,
}

/// Make a volume: a folder on one node that outlives units. It is not copied to other nodes, nor in backups
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl volumes:create data
  paasctl volumes:create data --node n2")]
pub struct Create {
    /// Its name
    name: String,
    /// The node it is made on; else the one with the most free memory
    #[arg(long)]
    node: Option<String>,
    #[command(flatten)]
    app: OnApp,
}

/// Mount a volume in types; their units are replaced, and run on the volume's node only
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl volumes:mount data web=/var/data
  paasctl volumes:mount data web=/var/data worker=/var/data

During a change old and new units of a type run side by side; where only one may write:
  paasctl exclusive:on TYPE")]
pub struct Mount {
    /// The volume
    name: String,
    /// TYPE=PATH: where units of a type mount it
    #[arg(required = true, value_name = "TYPE=PATH")]
    pairs: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Take a volume from types; its data stays
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl volumes:unmount data worker")]
pub struct Unmount {
    /// The volume
    name: String,
    /// The process types
    #[arg(required = true, value_name = "TYPE")]
    types: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

/// Destroy a volume that no type mounts, with all data in it
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl volumes:destroy data --confirm data")]
pub struct Destroy {
    /// The volume
    name: String,
    /// The volume's name, to destroy it without being asked
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    app: OnApp,
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let volumes: Vec<api::VolumeInfo> = self.app.open().await?.get("volumes").await?;
        let listing = Listing {
            when_empty: "No volumes. Make one: paasctl volumes:create NAME",
            headers: &["VOLUME", "NODE", "MOUNTED BY", "MADE", "STATE"],
            row: |volume: api::VolumeInfo| {
                let mounts = pairs::shown(&volume.mounts);
                vec![volume.name, volume.node, mounts, moment::local(&volume.created), volume.state]
            },
        };
        listing.print(volumes, &self.json)
    }
}

impl Create {
    /// Makes it.
    pub async fn run(self) -> Result<(), Failure> {
        let wanted = api::NewVolume { name: volume(&self.name)?, node: self.node };
        let app = self.app.open().await?;
        let volume: api::VolumeInfo = app.send(Method::POST, "volumes", &wanted).await?;
        line(format!("Volume {} of {} is on {}.", volume.name, app.name, volume.node));
        line(format!("Mount it: paasctl volumes:mount {} TYPE=/PATH -a {}", volume.name, app.name));
        Ok(())
    }
}

impl Mount {
    /// Mounts it.
    pub async fn run(self) -> Result<(), Failure> {
        let example = "paasctl volumes:mount data web=/var/data";
        let mounts = pairs::read(&self.pairs, "TYPE=/PATH", example, |path| path.starts_with('/'))?;
        let what = format!("{} mounted: {}", self.name, self.pairs.join(" "));
        change(&self.app, &self.wait, &self.name, mounts, &what).await
    }
}

impl Unmount {
    /// Unmounts it.
    pub async fn run(self) -> Result<(), Failure> {
        let mounts = self.types.iter().map(|process| (process.clone(), None)).collect();
        let what = format!("{} unmounted: {}", self.name, self.types.join(" "));
        change(&self.app, &self.wait, &self.name, mounts, &what).await
    }
}

impl Destroy {
    /// Destroys it.
    pub async fn run(self) -> Result<(), Failure> {
        let name = volume(&self.name)?;
        let app = self.app.open().await?;
        let what = format!("{name} of {} will be gone for good, with all data in it.", app.name);
        prompt::confirm_name(&name, self.confirm.as_deref(), &what)?;
        let _: IgnoredAny = app.delete(&format!("volumes/{name}?confirm={name}")).await?;
        line(format!("{name} of {} is destroyed; its data cannot be had back.", app.name));
        Ok(())
    }
}

async fn change(
    app: &OnApp,
    wait: &Wait,
    name: &str,
    mounts: BTreeMap<String, Option<String>>,
    what: &str,
) -> Result<(), Failure> {
    mounts.keys().try_for_each(|process| process_type(process).map(drop))?;
    let path = format!("volumes/{}", volume(name)?);
    let app = app.open().await?;
    let change = app.send(Method::PATCH, &path, &api::VolumeMounts { mounts }).await?;
    rollout::follow(&app, &change, wait, what).await
}

/// A name that is safe in a path.
fn volume(text: &str) -> Result<String, Failure> {
    text.parse::<VolumeName>().map(String::from).map_err(|error| {
        Failure::usage(format!("`{text}` is not a volume's name"))
            .hint(format!("A name has {}.", error.rule()))
    })
}
