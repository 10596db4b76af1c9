//! SSH keys that may push.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use proto::api;

use super::failure::Failure;
use super::listing::Listing;
use super::moment;
use super::prompt;
use super::target::{Json, OnCluster};
use crate::output::line;

/// Largest file read as a public key.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Let an SSH key push
#[derive(Args)]
#[command(after_help = "Examples:
  paasctl keys:add                            choose among ~/.ssh/*.pub
  paasctl keys:add ~/.ssh/id_ed25519.pub --name laptop")]
pub struct Add {
    /// The public key's file; else choose among ~/.ssh/*.pub
    path: Option<PathBuf>,
    /// Name in the list; else the key's comment
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    cluster: OnCluster,
}

/// List your SSH keys
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl keys")]
pub struct List {
    #[command(flatten)]
    cluster: OnCluster,
    #[command(flatten)]
    json: Json,
}

/// Take a key's right to push
#[derive(Args)]
#[command(after_help = "Example:\n  paasctl keys:remove laptop     (names: paasctl keys)")]
pub struct Remove {
    /// Its name in the list
    name: String,
    #[command(flatten)]
    cluster: OnCluster,
}

impl Add {
    /// Adds it.
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.cluster.open()?;
        let path = match self.path {
            Some(path) => path,
            None => choose()?,
        };
        let new = api::NewKey { name: self.name, public_key: public_key(&path)? };
        let key: api::KeyInfo = client.send(Method::POST, "/v1/keys", &new).await?;
        line(format!("Added key {} ({} {})", key.name, key.algorithm, key.fingerprint));
        Ok(())
    }
}

impl List {
    /// Lists them.
    pub async fn run(self) -> Result<(), Failure> {
        let keys: Vec<api::KeyInfo> = self.cluster.open()?.get("/v1/keys").await?;
        let listing = Listing {
            when_empty: "No keys yet. Add one: paasctl keys:add",
            headers: &["NAME", "KIND", "FINGERPRINT", "ADDED"],
            row: |key: api::KeyInfo| {
                vec![key.name, key.algorithm, key.fingerprint, moment::local(&key.created)]
            },
        };
        listing.print(keys, &self.json)
    }
}

impl Remove {
    /// Removes it.
    pub async fn run(self) -> Result<(), Failure> {
        self.cluster.open()?.remove("/v1/keys", &self.name).await?;
        line(format!("Key {} may no longer push.", self.name));
        Ok(())
    }
}

/// Reads a public key and refuses what is none, above all the private half.
fn public_key(path: &Path) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::local(format!("read the key {}", path.display()), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let text = std::io::read_to_string(std::io::Read::take(file, MAX_KEY_BYTES)).map_err(failed)?;
    if text.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!(
            "{} is the private half of a key; it stays with you",
            path.display()
        ))
        .hint(format!("Give the public half: {}.pub", path.display())));
    }
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let known = ["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"];
    match line.filter(|line| known.iter().any(|kind| line.starts_with(kind))) {
        Some(line) => Ok(line.to_owned()),
        None => {
            Err(Failure::usage(format!("{} is not a public key in OpenSSH form", path.display()))
                .hint("Make one: ssh-keygen -t ed25519"))
        }
    }
}

fn choose() -> Result<PathBuf, Failure> {
    let folder = PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".ssh");
    let listed =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = listed
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .collect();
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::usage(format!("there is no public key in {}", folder.display()))
            .hint("Make one: ssh-keygen -t ed25519, or name a file: paasctl keys:add PATH"));
    }
    let items: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let chosen = prompt::choice("Which key may push", &items, "its path: paasctl keys:add PATH")?;
    Ok(paths.swap_remove(chosen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_never_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\nssh-ed25519 x\n").unwrap();
        assert!(public_key(&path).is_err());
        std::fs::write(&path, "\n# mine\nssh-ed25519 AAAA ann@laptop\n").unwrap();
        assert_eq!(public_key(&path).unwrap(), "ssh-ed25519 AAAA ann@laptop");
        std::fs::write(&path, "hello").unwrap();
        assert!(public_key(&path).is_err());
    }
}
