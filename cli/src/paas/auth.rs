//! Who you are: register, login, logout, whoami, passwd.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use proto::api;
use serde::de::IgnoredAny;

use super::client::{Client, Place};
use super::connection::Address;
use super::failure::Failure;
use super::prompt;
use super::session::{self, Cluster, Session};
use super::target::{Json, OnCluster, read_ca};
use crate::output::{self, line};

/// Where to log in, and with what.
#[derive(Args)]
pub struct Door {
    /// The controller: https://host:port; may be left out when it was logged in to before
    pub url: Option<String>,
    /// User name; asked for when left out
    #[arg(short, long)]
    pub username: Option<String>,
    /// Password; better left out (asked for, not shown) or piped with --password-stdin
    #[arg(long, conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Certificate authority of the cluster (PEM); remembered
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Under which name to remember the cluster.
    #[command(flatten)]
    pub cluster: OnCluster,
}

/// Make an account and log in; the first one is the administrator
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl register https://deis.example.com:8000 --ca-file ca.pem
  echo \"$PASSWORD\" | paasctl register URL --username ann --password-stdin")]
pub struct Register {
    #[command(flatten)]
    door: Door,
    /// Address for notices
    #[arg(long, default_value = "")]
    email: String,
}

/// Log in and remember the token
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl login https://deis.example.com:8000 --ca-file ca.pem
  paasctl login https://deis.example.com:8000 -c prod     then: paasctl apps -c prod")]
pub struct Login {
    #[command(flatten)]
    door: Door,
}

/// Revoke the token and forget it
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl logout")]
pub struct Logout {
    #[command(flatten)]
    cluster: OnCluster,
}

/// Show who is logged in, and where
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl whoami")]
pub struct Whoami {
    #[command(flatten)]
    cluster: OnCluster,
    #[command(flatten)]
    json: Json,
}

/// Change a password; all other tokens of the user end
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl passwd
  printf '%s\\n%s\\n' \"$OLD\" \"$NEW\" | paasctl passwd --password-stdin
  paasctl passwd --username bob     (administrators)")]
pub struct Passwd {
    /// Whose (administrators); else your own
    #[arg(short, long)]
    username: Option<String>,
    /// Read the current password (not with --username) and the new one from standard input, a line each
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    cluster: OnCluster,
}

impl Register {
    /// Registers. Where registration is closed, an administrator who is logged in may register others, and stays who he is.
    pub async fn run(self) -> Result<(), Failure> {
        let place = self.door.place()?;
        let client = Client::new(place.clone())?;
        let info = client.info().await?;
        let known = self.door.known(&place.url)?.filter(|_| !info.registration_open);
        let client = match &known {
            Some(cluster) => Client::new(Place { token: cluster.token.clone(), ..place })?,
            None => client,
        };
        let username = self.door.username()?;
        let password = self.door.password(prompt::new_password)?;
        let registration = api::Registration { username, password, email: self.email.clone() };
        let session: api::Session =
            client.send(Method::POST, "/v1/auth/register", &registration).await?;
        if let Some(Cluster { username, token: Some(_), .. }) = known {
            line(format!("Registered {}. You stay logged in as {username}.", session.username));
            return Ok(());
        }
        self.door.remember(&client, &info, session, "Registered and logged in")?;
        line(
            "Next: paasctl keys:add, so that you can push; then paasctl apps:create in your repository",
        );
        Ok(())
    }
}

impl Login {
    /// Logs in.
    pub async fn run(self) -> Result<(), Failure> {
        let place = self.door.place()?;
        let client = Client::new(place)?;
        let info = client.info().await?;
        let login = api::Login {
            username: self.door.username()?,
            password: self.door.password(prompt::password)?,
            label: format!("paasctl on {}", host_name()),
        };
        let session = client.send(Method::POST, "/v1/auth/login", &login).await?;
        self.door.remember(&client, &info, session, "Logged in")
    }
}

impl Logout {
    /// Logs out; the token is forgotten here even when it cannot be revoked there.
    pub async fn run(self) -> Result<(), Failure> {
        let path = session::path()?;
        let mut session = Session::read(&path)?;
        let name = self.cluster.cluster.unwrap_or_else(|| session::DEFAULT.to_owned());
        let Some(cluster) =
            session.clusters.get_mut(&name).filter(|cluster| cluster.token.is_some())
        else {
            line("Nobody was logged in.");
            return Ok(());
        };
        let (place, url) = (Place::of(cluster), cluster.url.clone());
        cluster.token = None;
        session.write(&path)?;
        let client = Client::new(place)?;
        let revoked: Result<IgnoredAny, Failure> =
            client.send(Method::POST, "/v1/auth/logout", &()).await;
        match revoked {
            Ok(_) => line(format!("Logged out of {url}")),
            Err(failure) if failure.exit == super::failure::LOGIN_NEEDED => {
                line(format!("Logged out of {url} (the token had ended already)"));
            }
            Err(failure) => {
                eprintln!(" !     The token is forgotten here, but it was not revoked there:");
                return Err(failure);
            }
        }
        Ok(())
    }
}

impl Whoami {
    /// Shows it.
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.cluster.open()?;
        let whoami: api::Whoami = client.get("/v1/auth/whoami").await?;
        if self.json.json {
            return Ok(output::json(&whoami)?);
        }
        let admin = if whoami.is_admin { ", administrator" } else { "" };
        let scope = if whoami.scope == "full" {
            String::new()
        } else {
            format!(", token for {}", whoami.scope)
        };
        line(format!("{} at {}{admin}{scope}", whoami.username, client.place().url));
        Ok(())
    }
}

impl Passwd {
    /// Changes it.
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.cluster.open()?;
        let own = self.username.is_none();
        let change = api::PasswordChange {
            current: match (own, self.password_stdin) {
                (false, _) => String::new(),
                (true, true) => prompt::stdin_line()?,
                (true, false) => prompt::password("Current password")?,
            },
            new: match self.password_stdin {
                true => prompt::stdin_line()?,
                false => prompt::new_password("New password")?,
            },
            username: self.username.unwrap_or_default(),
        };
        let _: IgnoredAny = client.send(Method::POST, "/v1/auth/passwd", &change).await?;
        line("Password changed. All other logins and tokens of that user have ended.");
        Ok(())
    }
}

impl Door {
    fn name(&self) -> &str {
        self.cluster.cluster.as_deref().unwrap_or(session::DEFAULT)
    }

    /// Where to: an address with the authority given now or remembered for that address.
    fn place(&self) -> Result<Place, Failure> {
        let mut place = match &self.url {
            None => Place { token: None, ..self.cluster.place()? },
            Some(url) => {
                let url = Address::parse(url)?.url();
                let ca_pem = self.known(&url)?.and_then(|cluster| cluster.ca_pem);
                Place { ca_pem, ..Place::at(&url) }
            }
        };
        let from_environment = std::env::var_os("TRIREME_CA_FILE").filter(|path| !path.is_empty());
        if let Some(path) = self.ca_file.clone().or(from_environment.map(PathBuf::from)) {
            place.ca_pem = Some(read_ca(&path)?);
        }
        Ok(place)
    }

    /// What is remembered of an address.
    fn known(&self, url: &str) -> Result<Option<Cluster>, Failure> {
        let session = Session::read(&session::path()?)?;
        Ok(session.clusters.into_values().find(|cluster| cluster.url == url))
    }

    fn username(&self) -> Result<String, Failure> {
        let username = match &self.username {
            Some(username) => username.clone(),
            None => prompt::line("User name", "--username")?,
        };
        username.parse::<model::name::Username>().map(String::from).map_err(|error| {
            Failure::usage(format!("`{username}` is not a user name"))
                .hint(format!("A name has {}.", error.rule()))
        })
    }

    fn password(&self, ask: fn(&str) -> Result<String, Failure>) -> Result<String, Failure> {
        match (&self.password, self.password_stdin) {
            (Some(password), _) => Ok(password.clone()),
            (None, true) => prompt::stdin_line(),
            (None, false) => ask("Password"),
        }
    }

    fn remember(
        &self,
        client: &Client,
        info: &api::Info,
        opened: api::Session,
        done: &str,
    ) -> Result<(), Failure> {
        let path = session::path()?;
        let mut session = Session::read(&path)?;
        let cluster = Cluster {
            url: client.place().url.clone(),
            username: opened.username,
            token: Some(opened.token),
            ca_pem: client.place().ca_pem.clone(),
            git_remote_base: info.git_remote_base.clone(),
        };
        line(format!("{done} as {} at {}", cluster.username, cluster.url));
        session.clusters.insert(self.name().to_owned(), cluster);
        session.write(&path)
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
