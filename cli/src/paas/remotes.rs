//! The git remotes by which a repository here pushes to an app.

use std::path::Path;

use clap::Args;
use proto::api;

use super::failure::Failure;
use super::git;
use super::target::{App, OnApp};
use crate::output::line;

/// Add an app's git remote to the repository here
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl git:remote -a shop")]
pub struct Add {
    /// Name of the git remote
    #[arg(short, long, default_value = git::REMOTE, value_name = "NAME")]
    remote: String,
    #[command(flatten)]
    app: OnApp,
}

impl Add {
    /// Adds it.
    pub async fn run(self) -> Result<(), Failure> {
        if !git::is_repository(Path::new(".")) {
            return Err(
                Failure::usage("this is not a git repository").hint("Make it one: git init")
            );
        }
        let app: api::AppInfo = self.app.open().await?.get("").await?;
        let here = Path::new(".");
        let remotes = git::remotes(here)?;
        let known = remotes.iter().find(|known| known.name == self.remote);
        if known.is_none_or(|known| known.url != app.git_remote) {
            git::add_remote(here, &self.remote, &app.git_remote)
                .map_err(|failure| failure.hint("Under another name: --remote NAME"))?;
        }
        line(format!("Git remote {}: {}", self.remote, app.git_remote));
        Ok(())
    }
}

/// Adds the remote; an app stays created when that cannot be done.
pub fn add(remote: &str, app: &api::AppInfo) {
    let here = Path::new(".");
    let known =
        git::remotes(here).unwrap_or_default().into_iter().find(|known| known.name == remote);
    let added = match known {
        Some(known) if known.url == app.git_remote => Ok(()),
        Some(known) => Err(format!("the git remote `{remote}` is {} already", known.url)),
        None => git::add_remote(here, remote, &app.git_remote)
            .map_err(|failure| failure.problem.map(|problem| problem.message).unwrap_or_default()),
    };
    match added {
        Ok(()) => {
            line(format!("Git remote {remote}: {}", app.git_remote));
            line(format!(
                "Next: git push {remote} {}",
                app.deploy_branch.as_deref().unwrap_or("master")
            ));
        }
        Err(why) => {
            eprintln!(" !     No git remote was added: {why}");
            eprintln!(
                " !     Under another name: paasctl git:remote -a {} --remote NAME",
                app.name
            );
        }
    }
}

/// Removes those that lead to an app that is gone.
pub fn remove(app: &App) -> Result<(), Failure> {
    let here = Path::new(".");
    let base = app.client.place().git_remote_base.clone().unwrap_or_default();
    for remote in git::remotes(here)? {
        if git::app_at(&remote.url, &base).as_ref() == Some(&app.name) {
            git::remove_remote(here, &remote.name)?;
            line(format!("Removed git remote {}", remote.name));
        }
    }
    Ok(())
}
