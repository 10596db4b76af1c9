//! Refuses writes while the disk is nearly full, so that a commit never meets its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::StoreError;

/// How long a look at the disk is believed...
const FRESH_FOR: Duration = Duration::from_secs(1);
/// ...unless this much was written since.
const FRESH_BYTES: usize = 8 * 1024 * 1024;

/// The free space of the disk the file lies on, as last seen.
#[derive(Debug)]
pub struct Space {
    path: PathBuf,
    floor_bytes: u64,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    /// None when it could not be told; then the disk's own error must do.
    free_bytes: Option<u64>,
    written_bytes: usize,
}

impl Space {
    /// Watches the disk under the file at `path`.
    pub fn new(path: &Path, floor_bytes: u64) -> Self {
        Self { path: path.into(), floor_bytes, seen: None }
    }

    /// Accepts `bytes` more to write, or says that the disk is too full for them.
    pub fn admit(&mut self, bytes: usize) -> Result<(), StoreError> {
        let seen = match self.seen.take().filter(Seen::is_fresh) {
            Some(seen) => seen,
            None => self.look(),
        };
        let free_bytes = seen.free_bytes;
        self.seen = Some(Seen { written_bytes: seen.written_bytes + bytes, ..seen });
        match free_bytes {
            Some(free) if free < self.floor_bytes => Err(StoreError::Full {
                detail: format!(
                    "the disk of `{}` has {free} bytes free and the floor is {}",
                    self.path.display(),
                    self.floor_bytes
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn look(&self) -> Seen {
        let free_bytes = free_bytes(&self.path);
        if free_bytes.is_none() {
            tracing::warn!(path = %self.path.display(), "`df` does not tell the free disk space");
        }
        Seen { at: Instant::now(), free_bytes, written_bytes: 0 }
    }
}

impl Seen {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < FRESH_FOR && self.written_bytes < FRESH_BYTES
    }
}

/// What `df` of coreutils says is left for us; the standard library cannot tell.
fn free_bytes(path: &Path) -> Option<u64> {
    let output = Command::new("df")
        .args(["--output=avail", "--block-size=1", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_space_of_a_real_disk_is_told() {
        assert!(free_bytes(Path::new("/")).is_some_and(|free| free > 0));
        assert_eq!(free_bytes(Path::new("/no/such/folder")), None);
    }
}
