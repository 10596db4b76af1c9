//! The stack image: a Debian base with language runtimes, made on this machine from Debian packages alone.
//!
//! ```text
//! deploy/stack + host's archives + host's CA bundle = Recipe ── key ──► is it imported? ── no ──► base ► finish ► import
//! ```

mod base;
mod finish;
mod import;
mod trust;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::program::{self, say};
use crate::repository;
use crate::setup::apt::{self, sources};
use crate::setup::engine::client as docker;

/// The image's name in the Docker Engine.
pub const IMAGE: &str = "trireme/stack:12";

/// The certificates the host trusts; the image trusts the same.
pub const HOST_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

const KEY_LABEL: &str = "org.trireme.stack.key";

/// Raise it when the steps in this folder change, so that images made by the old ones are made again.
const REVISION: &str = "1";

/// Everything the image follows from.
pub struct Recipe {
    folder: PathBuf,
    sources: sources::Sources,
    options: Vec<String>,
    bundle: String,
    key: String,
}

impl Recipe {
    /// Reads the recipe and what the host adds to it.
    pub fn read() -> Result<Self> {
        let folder = repository::root().join("deploy/stack");
        let sources = sources::read()?;
        let options = apt::options()?;
        // Absent only before the set-up has installed `ca-certificates`; `import` reads again.
        let bundle = fs::read_to_string(HOST_BUNDLE).unwrap_or_default();
        let mut parts = vec![
            REVISION.to_owned(),
            sources.lines.clone(),
            sources.paragraphs.clone(),
            bundle.clone(),
        ];
        parts.extend(options.iter().cloned());
        for name in ["packages", "dpkg.cfg", "remove", "image", "serve-static"] {
            let path = folder.join(name);
            parts.push(
                fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?,
            );
        }
        let key = format!("{:016x}", hash(&parts));
        Ok(Self { folder, sources, options, bundle, key })
    }

    /// Whether the engine holds the image of exactly this recipe.
    pub fn is_imported(&self) -> bool {
        let format = format!("{{{{index .Config.Labels \"{KEY_LABEL}\"}}}}");
        let label = docker().and_then(|mut docker| {
            program::read(docker.args(["image", "inspect", "--format", &format, IMAGE]))
        });
        label.is_ok_and(|label| label.trim() == self.key)
    }

    /// Makes and imports the image.
    pub fn import(&self) -> Result<()> {
        let started = Instant::now();
        let workshop = Workshop::open()?;
        base::make(self, &workshop)?;
        finish::finish(self, &workshop.root())?;
        import::import(self, &workshop.root())?;
        let size =
            program::read(docker()?.args(["image", "inspect", "--format", "{{.Size}}", IMAGE]))?;
        let megabytes = size.trim().parse::<u64>().unwrap_or(0) / 1_000_000;
        say(&format!(
            "  Stack image {IMAGE}: {megabytes} MB, made in {} s",
            started.elapsed().as_secs()
        ));
        Ok(())
    }

    /// The entries of one of the recipe's lists: a line each, `#` starts a comment.
    fn list(&self, name: &str) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.folder.join(name))?;
        Ok(entries(&text).map(str::to_owned).collect())
    }
}

/// A folder to make the image in, removed at the end.
struct Workshop(PathBuf);

impl Workshop {
    fn open() -> Result<Self> {
        let path = PathBuf::from(format!("/var/tmp/trireme-stack-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("create `{}`", path.display()))?;
        Ok(Self(path))
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What stays behind only takes room under /var/tmp.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// FNV-1a: tells changed recipes apart, the same way in every build of this program. It guards against nobody.
fn hash(parts: &[String]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_and_its_bounds_count_in_the_key() {
        let key =
            |parts: &[&str]| hash(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab"]));
        assert_ne!(key(&["a", "b"]), key(&["a", "c"]));
        assert_ne!(key(&["a", ""]), key(&["a"]));
    }

    #[test]
    fn comments_and_blank_lines_are_no_entries() {
        let text = "# head\n\npython3   # the language\ngit\n";
        assert_eq!(entries(text).collect::<Vec<_>>(), ["python3", "git"]);
    }
}
