//! Apps: create, list, info, open, branch, transfer, destroy.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use http::Method;
use proto::api;

use super::failure::Failure;
use super::git;
use super::listing::Listing;
use super::moment;
use super::pairs;
use super::prompt;
use super::remotes;
use super::rollout::{self, Wait};
use super::target::{Json, OnApp, OnCluster, app_name};
use crate::output::{self, line};

/// Create an app, and a git remote for it here
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl apps:create              a generated name
  paasctl apps:create shop && git push deis master
  paasctl apps:create shop-staging --remote staging")]
pub struct Create {
    /// Its name, the first label of its address; else one is made
    name: Option<String>,
    /// Name of the git remote
    #[arg(short, long, default_value = git::REMOTE, value_name = "NAME")]
    remote: String,
    /// Add no git remote
    #[arg(long)]
    no_remote: bool,
    #[command(flatten)]
    cluster: OnCluster,
}

/// List the apps you may see
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl apps --json")]
pub struct List {
    #[command(flatten)]
    cluster: OnCluster,
    #[command(flatten)]
    json: Json,
}

/// Show an app
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl info -a shop")]
pub struct Info {
    #[command(flatten)]
    app: OnApp,
    #[command(flatten)]
    json: Json,
}

/// Print an app's address, and open it in a browser where there is one
#[derive(Args)]
#[command(after_help = "Example:\n  curl $(paasctl open)")]
pub struct Open {
    #[command(flatten)]
    app: OnApp,
}

/// Show or set the one branch that deploys
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl apps:branch               which one
  paasctl apps:branch production    this one only
  paasctl apps:branch --default     `master` or `main` again")]
pub struct Branch {
    /// The branch
    name: Option<String>,
    /// Back to `master` or `main`
    #[arg(long, conflicts_with = "name")]
    default: bool,
    #[command(flatten)]
    app: OnApp,
}

/// Give an app to another user
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl apps:transfer bob -a shop")]
pub struct Transfer {
    /// The new owner
    user: String,
    #[command(flatten)]
    app: OnApp,
}

/// Remove an app with its units, releases, domains and logs, for good
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl apps:destroy -a shop
  paasctl apps:destroy -a shop --confirm shop     in scripts")]
pub struct Destroy {
    /// The app's name once more, instead of typing it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    app: OnApp,
}

impl Create {
    /// Creates it.
    pub async fn run(self) -> Result<(), Failure> {
        if let Some(name) = &self.name {
            app_name(name)?;
        }
        let client = self.cluster.open()?;
        let app: api::AppInfo =
            client.send(Method::POST, "/v1/apps", &api::NewApp { name: self.name }).await?;
        line(format!("Created {}, it will answer at {}", app.name, app.url));
        if self.no_remote || !git::is_repository(Path::new(".")) {
            line(format!(
                "Next, in the app's repository: paasctl git:remote -a {} && git push deis master",
                app.name
            ));
            return Ok(());
        }
        remotes::add(&self.remote, &app);
        Ok(())
    }
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let apps: Vec<api::AppInfo> = self.cluster.open()?.get("/v1/apps").await?;
        let listing = Listing {
            when_empty: "No apps yet. Create one: paasctl apps:create",
            headers: &["APP", "OWNER", "RELEASE", "UNITS", "URL"],
            row: |app: api::AppInfo| {
                let release = app.release.clone().unwrap_or_else(|| "-".to_owned());
                vec![app.name.clone(), app.owner.clone(), release, formation(&app), app.url]
            },
        };
        listing.print(apps, &self.json)
    }
}

impl Info {
    /// Shows it.
    pub async fn run(self) -> Result<(), Failure> {
        let app: api::AppInfo = self.app.open().await?.get("").await?;
        if self.json.json {
            return Ok(output::json(&app)?);
        }
        let none = || "-".to_owned();
        let list = |texts: &[String]| if texts.is_empty() { none() } else { texts.join(", ") };
        let rows = [
            ("App", app.name.clone()),
            ("URL", app.url.clone()),
            ("Owner", app.owner.clone()),
            ("Collaborators", list(&app.collaborators)),
            ("Created", moment::local(&app.created)),
            ("Release", app.release.clone().unwrap_or_else(none)),
            ("Deploying", app.deploying.clone().unwrap_or_else(none)),
            ("Units", formation(&app)),
            ("Domains", list(&app.domains)),
            ("Git remote", app.git_remote.clone()),
            ("Deploys", app.deploy_branch.clone().unwrap_or_else(|| "master or main".to_owned())),
            ("Maintenance", if app.maintenance { "on" } else { "off" }.to_owned()),
        ];
        for (name, value) in rows {
            line(format!("{name:<14} {value}"));
        }
        Ok(())
    }
}

fn formation(app: &api::AppInfo) -> String {
    pairs::shown(&app.formation)
}

impl Open {
    /// Opens it.
    pub async fn run(self) -> Result<(), Failure> {
        let app: api::AppInfo = self.app.open().await?.get("").await?;
        line(&app.url);
        if std::io::stdout().is_terminal() {
            let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
            let quiet = Command::new(opener)
                .arg(&app.url)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            // Without a desktop the printed address is all there is to do.
            drop(quiet);
        }
        Ok(())
    }
}

impl Branch {
    /// Shows or sets it.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let info: api::AppInfo = if self.name.is_none() && !self.default {
            app.get("").await?
        } else {
            app.send(Method::PUT, "deploy-branch", &api::DeployBranch { branch: self.name }).await?
        };
        let branch = info.deploy_branch.unwrap_or_else(|| "master or main".to_owned());
        line(format!("{} deploys {branch}", info.name));
        Ok(())
    }
}

impl Transfer {
    /// Gives it.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let info: api::AppInfo =
            app.send(Method::POST, "transfer", &api::Transfer { to: self.user }).await?;
        line(format!("{} belongs to {} now.", info.name, info.owner));
        Ok(())
    }
}

impl Destroy {
    /// Destroys it.
    pub async fn run(self) -> Result<(), Failure> {
        let app = self.app.open().await?;
        let what = format!(
            "{} will be gone for good: units, releases, config, domains, logs, volumes.",
            app.name
        );
        prompt::confirm_name(app.name.as_str(), self.confirm.as_deref(), &what)?;
        let change = app.delete(&format!("?confirm={}", app.name)).await?;
        match rollout::follow(&app, &change, &self.wait, "is gone").await {
            // It was gone before we could look.
            Err(failure) if failure.is_about_nothing() => {
                line(format!("done, {} is gone", app.name))
            }
            ended => ended?,
        }
        remotes::remove(&app)
    }
}
