//! Which cluster and which app a command is about.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use model::name::AppName;
use serde::{Serialize, de::DeserializeOwned};

use super::client::{Client, Place};
use super::failure::Failure;
use super::git;
use super::session::{self, Session};

/// Names a cluster.
#[derive(Args)]
pub struct OnCluster {
    /// Cluster to talk to, as named at login
    #[arg(short, long, value_name = "NAME", help_heading = "Where")]
    pub cluster: Option<String>,
}

/// Names an app.
#[derive(Args)]
pub struct OnApp {
    /// App; else the one that the git remote names
    #[arg(short, long, env = "TRIREME_APP", hide_env_values = true, help_heading = "Where")]
    pub app: Option<String>,
    /// Where it is.
    #[command(flatten)]
    pub cluster: OnCluster,
}

/// Asks for JSON.
#[derive(Args)]
pub struct Json {
    /// Print what the API answered, as JSON
    #[arg(long)]
    pub json: bool,
}

/// What the environment says.
#[derive(Debug, Default)]
struct Environment {
    url: Option<String>,
    token: Option<String>,
    ca_file: Option<PathBuf>,
}

/// An app on its cluster.
pub struct App {
    /// How to ask.
    pub client: Client,
    /// Its name.
    pub name: AppName,
}

impl OnCluster {
    /// The cluster, by somebody logged in.
    pub fn open(&self) -> Result<Client, Failure> {
        let place = self.place()?;
        if place.token.is_none() {
            let login = format!("Log in: paasctl login {}", place.url);
            return Err(
                Failure::login_needed(format!("nobody is logged in at {}", place.url)).hint(login)
            );
        }
        Client::new(place)
    }

    /// The cluster, whoever asks.
    pub fn place(&self) -> Result<Place, Failure> {
        resolve(self.cluster.as_deref(), &Session::read(&session::path()?)?, &Environment::read())
    }
}

impl OnApp {
    /// The app, named or found by the git remotes here.
    pub async fn open(&self) -> Result<App, Failure> {
        if let Some(text) = &self.app {
            let name = app_name(text)?;
            return Ok(App { client: self.cluster.open()?, name });
        }
        let client = self.cluster.open()?;
        let remotes = git::remotes(Path::new("."))?;
        let known = client.place().git_remote_base.clone();
        let found = match known.map(|base| git::app_of(&remotes, &base)) {
            Some(Ok(name)) => Ok(name),
            // The base may have changed since the login, or was never known.
            _ if !remotes.is_empty() => {
                git::app_of(&remotes, &client.info().await?.git_remote_base)
            }
            _ => Err(git::NoApp::NoRemotes),
        };
        let name = found.map_err(|reason| {
            Failure::usage(format!("which app? {reason}")).hint(
                "Name it with -a APP, or make this repository the app's: paasctl git:remote -a APP",
            )
        })?;
        Ok(App { client, name })
    }
}

impl App {
    /// `GET /v1/apps/{app}/{path}`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.client.get(&self.path(path)).await
    }

    /// Sends a document.
    pub async fn send<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.client.send(method, &self.path(path), body).await
    }

    /// `DELETE /v1/apps/{app}/{path}`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.client.delete(&self.path(path)).await
    }

    /// Deletes what of the app has a name; the answer says nothing.
    pub async fn remove(&self, folder: &str, name: &str) -> Result<(), Failure> {
        self.client.remove(&self.path(folder), name).await
    }

    /// The whole path; an empty one is the app itself.
    pub fn path(&self, path: &str) -> String {
        match path {
            "" => format!("/v1/apps/{}", self.name),
            query if query.starts_with('?') => format!("/v1/apps/{}{query}", self.name),
            path => format!("/v1/apps/{}/{path}", self.name),
        }
    }
}

impl Environment {
    fn read() -> Environment {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            url: text("TRIREME_URL"),
            token: text("TRIREME_TOKEN"),
            ca_file: text("TRIREME_CA_FILE").map(PathBuf::from),
        }
    }
}

/// Reads an app's name.
pub fn app_name(text: &str) -> Result<AppName, Failure> {
    text.parse().map_err(|error: model::name::NameError| {
        Failure::usage(format!("`{text}` is not an app name"))
            .hint(format!("A name has {}.", error.rule()))
    })
}

/// Reads a file of certificates.
pub fn read_ca(path: &Path) -> Result<String, Failure> {
    let what = || format!("read the certificate authority {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| Failure::local(what(), error))?;
    if !text.contains("BEGIN CERTIFICATE") {
        return Err(Failure::refused(format!(
            "{} holds no certificate in PEM form",
            path.display()
        )));
    }
    Ok(text)
}

/// A named cluster first, then the environment, then the session.
fn resolve(
    named: Option<&str>,
    session: &Session,
    environment: &Environment,
) -> Result<Place, Failure> {
    let from_environment = environment.url.as_ref().filter(|_| named.is_none());
    let mut place = match from_environment {
        Some(url) => {
            let known = session.clusters.values().find(|cluster| &cluster.url == url);
            known.map_or_else(|| Place::at(url), Place::of)
        }
        None => {
            let name = named.unwrap_or(session::DEFAULT);
            let cluster =
                session.clusters.get(name).or_else(|| only(session).filter(|_| named.is_none()));
            Place::of(cluster.ok_or_else(|| unknown(name, named.is_some(), session))?)
        }
    };
    if let Some(token) = &environment.token {
        place.token = Some(token.clone());
    }
    if let Some(path) = &environment.ca_file {
        place.ca_pem = Some(read_ca(path)?);
    }
    Ok(place)
}

/// The one cluster there is.
fn only(session: &Session) -> Option<&session::Cluster> {
    session.clusters.values().next().filter(|_| session.clusters.len() == 1)
}

fn unknown(name: &str, named: bool, session: &Session) -> Failure {
    if session.clusters.is_empty() && !named {
        return Failure::login_needed("nobody is logged in here")
            .hint("Log in: paasctl login https://deis.DOMAIN:8000, or register there: paasctl register URL");
    }
    let known: Vec<&str> = session.clusters.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Failure::login_needed(format!("no cluster named `{name}` is known here; known: {known}"))
        .hint(format!("Log in to it under that name: paasctl login URL -c {name}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn session(names: &[&str]) -> Session {
        let cluster = |name: &str| session::Cluster {
            url: format!("https://{name}:8000"),
            username: "ann".to_owned(),
            token: Some(format!("token of {name}")),
            ca_pem: None,
            git_remote_base: String::new(),
        };
        let clusters: BTreeMap<_, _> =
            names.iter().map(|name| ((*name).to_owned(), cluster(name))).collect();
        Session { v: 1, clusters }
    }

    fn place(
        named: Option<&str>,
        names: &[&str],
        url: Option<&str>,
    ) -> Option<(String, Option<String>)> {
        let environment = Environment { url: url.map(str::to_owned), ..Environment::default() };
        resolve(named, &session(names), &environment).ok().map(|place| (place.url, place.token))
    }

    #[test]
    fn a_named_cluster_goes_before_the_environment_and_that_before_the_default() {
        let at =
            |name: &str| Some((format!("https://{name}:8000"), Some(format!("token of {name}"))));
        let both = ["default", "prod"];
        assert_eq!(place(None, &both, None), at("default"));
        assert_eq!(place(Some("prod"), &both, None), at("prod"));
        assert_eq!(place(Some("prod"), &both, Some("https://default:8000")), at("prod"));
        assert_eq!(place(None, &both, Some("https://prod:8000")), at("prod"));
        assert_eq!(place(None, &["prod"], None), at("prod"), "the only one needs no name");
        assert_eq!(place(None, &["one", "two"], None), None);
        assert_eq!(place(Some("stage"), &both, None), None);
    }

    #[test]
    fn a_token_never_goes_to_another_address() {
        let elsewhere = place(None, &["default"], Some("https://elsewhere:8000"));
        assert_eq!(elsewhere, Some(("https://elsewhere:8000".to_owned(), None)));
    }
}
