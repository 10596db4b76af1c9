//! The git repository around us: which app its remotes name, and adding such a remote.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use model::name::AppName;

use super::failure::Failure;

/// The remote's usual name.
pub const REMOTE: &str = "deis";

/// A remote of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `deis`, `origin`.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// Why the remotes name no app. Completes a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoApp {
    /// Not a repository, or one without remotes.
    #[error("There is no git remote here that could say.")]
    NoRemotes,
    /// Remotes of other places.
    #[error("No git remote here belongs to this cluster ({0}).")]
    NoneHere(String),
    /// Several apps.
    #[error("The git remotes here name several: {}.", .0.join(", "))]
    Several(Vec<String>),
}

/// The remotes here; none outside of a repository or without git.
pub fn remotes(folder: &Path) -> Result<Vec<Remote>, Failure> {
    let listed = git(folder, &["config", "--get-regexp", r"^remote\..*\.url$"]);
    let Ok(output) = listed else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(remote).collect())
}

/// Whether we are inside of a work tree.
pub fn is_repository(folder: &Path) -> bool {
    git(folder, &["rev-parse", "--is-inside-work-tree"]).is_ok_and(|output| output.status.success())
}

/// Adds a remote.
pub fn add_remote(folder: &Path, name: &str, url: &str) -> Result<(), Failure> {
    done(&format!("add the git remote `{name}`"), git(folder, &["remote", "add", "--", name, url]))
}

/// Removes a remote.
pub fn remove_remote(folder: &Path, name: &str) -> Result<(), Failure> {
    done(&format!("remove the git remote `{name}`"), git(folder, &["remote", "remove", name]))
}

/// The app that the remotes name on the cluster with this base: `deis` first, then any other.
pub fn app_of(remotes: &[Remote], base: &str) -> Result<AppName, NoApp> {
    if remotes.is_empty() {
        return Err(NoApp::NoRemotes);
    }
    let usual = remotes.iter().find(|remote| remote.name == REMOTE);
    if let Some(app) = usual.and_then(|remote| app_at(&remote.url, base)) {
        return Ok(app);
    }
    let mut apps: BTreeSet<AppName> =
        remotes.iter().filter_map(|remote| app_at(&remote.url, base)).collect();
    match (apps.pop_first(), apps.is_empty()) {
        (Some(app), true) => Ok(app),
        (Some(first), false) => {
            Err(NoApp::Several(std::iter::once(first).chain(apps).map(String::from).collect()))
        }
        (None, _) => Err(NoApp::NoneHere(base.to_owned())),
    }
}

/// The app behind a remote's address, if it is on the cluster with this base.
pub fn app_at(url: &str, base: &str) -> Option<AppName> {
    let (url, base) = (plain(url), plain(base));
    let path = url.strip_prefix(base.trim_end_matches('/'))?.strip_prefix('/')?;
    let path = path.trim_end_matches('/');
    path.strip_suffix(".git").unwrap_or(path).parse().ok()
}

/// An address without user and default port, host in lower case, always with a scheme.
fn plain(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest.to_owned()),
        None => ("ssh".to_owned(), url.replacen(':', "/", 1)),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((&rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let host = if scheme == "ssh" { host.strip_suffix(":22").unwrap_or(&host) } else { &host };
    match path {
        "" => format!("{scheme}://{host}"),
        path => format!("{scheme}://{host}/{}", path.trim_start_matches('/')),
    }
}

/// A line of `git config --get-regexp`: `remote.NAME.url URL`.
fn remote(line: &str) -> Option<Remote> {
    let (key, url) = line.split_once(' ')?;
    let name = key.strip_prefix("remote.")?.strip_suffix(".url")?;
    Some(Remote { name: name.to_owned(), url: url.to_owned() })
}

fn git(folder: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("git").arg("-C").arg(folder).args(arguments).output()
}

fn done(what: &str, output: std::io::Result<Output>) -> Result<(), Failure> {
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Failure::local(what, String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(Failure::local(what, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "ssh://git@localhost:2222";

    /// Remotes by name and address, and the app they name.
    type Case<'a> = (&'a [(&'a str, &'a str)], Result<&'a str, NoApp>);

    fn found(remotes: &[(&str, &str)], base: &str) -> Result<String, NoApp> {
        let remotes: Vec<Remote> = remotes
            .iter()
            .map(|(name, url)| Remote { name: (*name).to_owned(), url: (*url).to_owned() })
            .collect();
        app_of(&remotes, base).map(String::from)
    }

    #[test]
    fn the_app_is_the_one_a_remote_of_this_cluster_names() {
        let here = |app: &str| format!("{BASE}/{app}.git");
        let (shop, blog) = (here("shop"), here("blog"));
        let github = "https://github.com/ann/shop.git";
        let table: [Case; 10] = [
            (&[("deis", &shop)], Ok("shop")),
            (&[("origin", github), ("deis", &shop)], Ok("shop")),
            (&[("origin", &blog), ("deis", &shop)], Ok("shop")),
            (&[("deis", github), ("staging", &blog)], Ok("blog")),
            (&[("a", &shop), ("b", &shop)], Ok("shop")),
            (&[("deis", "ssh://localhost:2222/shop")], Ok("shop")),
            (
                &[("a", &shop), ("b", &blog)],
                Err(NoApp::Several(vec!["blog".into(), "shop".into()])),
            ),
            (&[("origin", github)], Err(NoApp::NoneHere(BASE.to_owned()))),
            (
                &[("deis", "ssh://git@localhost:22222/shop.git")],
                Err(NoApp::NoneHere(BASE.to_owned())),
            ),
            (&[], Err(NoApp::NoRemotes)),
        ];
        for (remotes, wanted) in table {
            assert_eq!(found(remotes, BASE), wanted.map(str::to_owned), "{remotes:?}");
        }
    }

    #[test]
    fn the_short_form_of_ssh_is_understood() {
        let base = "ssh://git@deis.example.com:22";
        assert_eq!(found(&[("deis", "git@deis.example.com:shop.git")], base).unwrap(), "shop");
        assert_eq!(found(&[("deis", "git@Deis.Example.com:/shop.git")], base).unwrap(), "shop");
        assert!(found(&[("deis", "git@deis.example.com:team/shop.git")], base).is_err());
    }

    #[test]
    fn a_remote_is_added_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_repository(folder.path()));
        git(folder.path(), &["init", "-q"]).unwrap();
        assert!(is_repository(folder.path()));
        add_remote(folder.path(), "deis", "ssh://git@localhost:2222/shop.git").unwrap();
        let found = remotes(folder.path()).unwrap();
        assert_eq!(app_of(&found, BASE).unwrap().as_str(), "shop");
        assert!(add_remote(folder.path(), "deis", "x").is_err());
        remove_remote(folder.path(), "deis").unwrap();
        assert_eq!(remotes(folder.path()).unwrap(), []);
    }
}
