//! The session file: which clusters this user knows, and the token for each.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// Name of the cluster when none is named.
pub const DEFAULT: &str = "default";

/// What is remembered between commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Of this document.
    pub v: u32,
    /// By name.
    pub clusters: BTreeMap<String, Cluster>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The controller, `https://host:port`.
    pub url: String,
    /// Who is logged in.
    pub username: String,
    /// None: logged out.
    pub token: Option<String>,
    /// Authority that signed the controller's certificate, beside those the system knows.
    pub ca_pem: Option<String>,
    /// Base of git remotes, to recognise them.
    pub git_remote_base: String,
}

impl Default for Session {
    fn default() -> Session {
        Session { v: 1, clusters: BTreeMap::new() }
    }
}

/// Where the session file is.
pub fn path() -> Result<PathBuf, Failure> {
    let folder = match (std::env::var_os("TRIREME_HOME"), std::env::var_os("HOME")) {
        (Some(folder), _) if !folder.is_empty() => PathBuf::from(folder),
        (_, Some(home)) => PathBuf::from(home).join(".config/trireme"),
        (_, None) => {
            return Err(Failure::usage("there is no HOME to keep the session in")
                .hint("Set TRIREME_HOME to a folder of yours."));
        }
    };
    Ok(folder.join("session.json"))
}

impl Session {
    /// What was remembered; a file that is not there is an empty session.
    pub fn read(path: &Path) -> Result<Session, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Session::default());
            }
            Err(error) => return Err(Failure::local(format!("read {}", path.display()), error)),
        };
        serde_json::from_str(&text).map_err(|error| {
            Failure::local(format!("read {}", path.display()), error)
                .hint("Remove that file and log in again.")
        })
    }

    /// Replaces the file whole; nobody else may read it.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        self.try_write(path)
            .map_err(|error| Failure::local(format!("write {}", path.display()), error))
    }

    fn try_write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        let text = serde_json::to_string_pretty(self)?;
        let draft = path.with_extension(format!("json.{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let cluster = Cluster {
            url: "https://localhost:8000".to_owned(),
            username: "ann".to_owned(),
            token: Some("secret".to_owned()),
            ca_pem: None,
            git_remote_base: "ssh://git@localhost:2222".to_owned(),
        };
        Session { v: 1, clusters: BTreeMap::from([(DEFAULT.to_owned(), cluster)]) }
    }

    #[test]
    fn only_its_owner_may_read_the_session() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("trireme/session.json");
        session().write(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(Session::read(&path).unwrap(), session());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn a_file_that_was_open_to_others_is_closed_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("session.json");
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        session().write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn no_file_is_an_empty_session_and_a_broken_one_is_said() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("session.json");
        assert_eq!(Session::read(&path).unwrap(), Session::default());
        fs::write(&path, "{").unwrap();
        assert!(Session::read(&path).is_err());
    }
}
