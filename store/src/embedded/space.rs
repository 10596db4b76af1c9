//! Refuses writes while the disk is nearly full, so that a commit never meets its end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::StoreError;

/// How long a look at the disk is believed...
const FRESH_FOR: Duration = Duration::from_secs(1);
/// ...unless this much was written since.
const FRESH_BYTES: usize = 8 * 1024 * 1024;

/// Below this a commit may meet the disk's end, and the file would have to be repaired, for which there is no room.
const EXHAUSTED_BYTES: u64 = 4 * 1024 * 1024;

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
        // Only room is believed from an earlier look: who made some is not refused for want of it.
        let seen = match self.seen.take() {
            Some(seen) if seen.is_fresh() && !self.is_below_floor(&seen) => seen,
            _ => self.look(),
        };
        let (free_bytes, is_below_floor) = (seen.free_bytes, self.is_below_floor(&seen));
        self.seen = Some(Seen { written_bytes: seen.written_bytes + bytes, ..seen });
        match free_bytes {
            Some(free) if is_below_floor => Err(StoreError::Full {
                detail: format!(
                    "the disk of `{}` has {free} bytes free and the floor is {}",
                    self.path.display(),
                    self.floor_bytes
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether not even a deletion, which writes too, would find room.
    pub fn is_exhausted(&self) -> bool {
        let free_bytes = self.seen.as_ref().and_then(|seen| seen.free_bytes);
        free_bytes.is_some_and(|free| free < EXHAUSTED_BYTES)
    }

    fn is_below_floor(&self, seen: &Seen) -> bool {
        seen.free_bytes.is_some_and(|free| free < self.floor_bytes)
    }

    fn look(&self) -> Seen {
        let free_bytes = free_bytes(&self.path)
            .inspect_err(|error| {
                tracing::warn!(%error, path = %self.path.display(), "free disk space is not known");
            })
            .ok();
        Seen { at: Instant::now(), free_bytes, written_bytes: 0 }
    }
}

impl Seen {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < FRESH_FOR && self.written_bytes < FRESH_BYTES
    }
}

/// What is left for a writer without privileges.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_space_of_a_real_disk_is_told() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
        let missing = free_bytes(Path::new("/no/such/folder")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
