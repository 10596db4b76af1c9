//! Blobs on their way in: temporary files with their running hash, which vanish unless they are finished.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use service::Clock;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    blobs::Blobs,
    name::{Digest, Repository, UploadId},
    refusal::Refusal,
};

/// An upload that nobody continued for this long is forgotten.
pub const EXPIRES_AFTER: Duration = Duration::from_secs(3600);
/// More uploads at once are refused.
const MAX_UPLOADS: usize = 256;
/// The disk's floor is looked at again after each of these many bytes.
const CHECK_EVERY: u64 = 16 << 20;

/// The least the disk must have free for uploads to be taken.
#[derive(Debug, Clone)]
pub struct Floor {
    /// A folder on that disk.
    pub folder: PathBuf,
    /// The number of bytes.
    pub min_free: u64,
}

impl Floor {
    /// Refuses while the disk is below the floor.
    pub fn check(&self) -> Result<(), Refusal> {
        if service::durable::free_bytes(&self.folder)? < self.min_free {
            return Err(Refusal::disk_full());
        }
        Ok(())
    }
}

/// A blob's first bytes, in a file without a name of its own. Dropping it removes the file.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    hash: Sha256,
    size: u64,
    floor: Floor,
}

impl Partial {
    fn create(folder: &Path, id: &UploadId, floor: Floor) -> io::Result<Partial> {
        let path = folder.join(id.as_str());
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Partial { path, file, hash: Sha256::new(), size: 0, floor })
    }

    /// How many bytes are here.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes. After an error the upload is of no use any more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        let before = self.size;
        self.size += bytes.len() as u64;
        if before / CHECK_EVERY != self.size / CHECK_EVERY {
            self.floor.check()?;
        }
        Ok(())
    }

    /// Verifies that `digest` is that of its content, and makes the content durable.
    pub fn seal(self, digest: Digest) -> Result<Sealed, Refusal> {
        let actual = Digest::from_hash(&self.hash.clone().finalize());
        if actual != digest {
            let message = format!("the content has digest {actual}, not {digest}");
            return Err(Refusal::digest_invalid(message));
        }
        self.file.sync_all()?;
        Ok(Sealed { partial: self, digest })
    }
}

/// Verified and durable content that lacks only its name.
#[derive(Debug)]
pub struct Sealed {
    partial: Partial,
    digest: Digest,
}

impl Sealed {
    /// Makes it a blob.
    pub fn store(self, blobs: &Blobs) -> Result<(), Refusal> {
        Ok(blobs.adopt(&self.partial.file, &self.partial.path, &self.digest)?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a finish there is nothing at this path; a file that stays is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// An upload's content, locked while a request writes to it; none once it is finished or failed.
pub type Slot = Arc<AsyncMutex<Option<Partial>>>;

struct Upload {
    repository: Repository,
    used_ms: Arc<AtomicU64>,
    slot: Slot,
}

/// All uploads under way.
pub struct Uploads {
    folder: PathBuf,
    floor: Floor,
    clock: Clock,
    all: Mutex<HashMap<UploadId, Upload>>,
}

impl Uploads {
    /// No uploads; what an earlier run left in `folder` is removed.
    pub fn open(folder: PathBuf, floor: Floor, clock: Clock) -> io::Result<Uploads> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Uploads { folder, floor, clock, all: Mutex::default() })
    }

    /// Starts one. Blocks.
    pub fn start(&self, repository: Repository) -> Result<UploadId, Refusal> {
        self.floor.check()?;
        if self.lock().len() >= MAX_UPLOADS {
            return Err(Refusal::too_many());
        }
        let id = UploadId::random();
        let partial = Partial::create(&self.folder, &id, self.floor.clone())?;
        let upload = Upload {
            repository,
            used_ms: Arc::new(AtomicU64::new(self.now_ms())),
            slot: Arc::new(AsyncMutex::new(Some(partial))),
        };
        self.lock().insert(id.clone(), upload);
        Ok(id)
    }

    /// One that only its holder knows. Blocks.
    pub fn start_unnamed(&self) -> Result<Partial, Refusal> {
        self.floor.check()?;
        Ok(Partial::create(&self.folder, &UploadId::random(), self.floor.clone())?)
    }

    /// The upload of that name in that repository; asking keeps it from expiring.
    pub fn find(&self, repository: &Repository, id: &UploadId) -> Result<Slot, Refusal> {
        let all = self.lock();
        let upload = all.get(id).filter(|upload| upload.repository == *repository);
        let upload = upload.ok_or_else(Refusal::upload_unknown)?;
        upload.used_ms.store(self.now_ms(), Ordering::Relaxed);
        Ok(upload.slot.clone())
    }

    /// Forgets one; its file goes when the last request that uses it ends.
    pub fn forget(&self, id: &UploadId) {
        let forgotten = self.lock().remove(id);
        // The file is removed here, after the lock.
        drop(forgotten);
    }

    /// Forgets those nobody uses any more. Blocks. Says how many there were.
    pub fn expire(&self) -> usize {
        let now = self.now_ms();
        let old = |upload: &Upload| {
            let idle = now.saturating_sub(upload.used_ms.load(Ordering::Relaxed));
            // A locked slot is being written to at this moment.
            u128::from(idle) > EXPIRES_AFTER.as_millis() && upload.slot.try_lock().is_ok()
        };
        let expired: Vec<_> = self.lock().extract_if(|_, upload| old(upload)).collect();
        expired.len()
    }

    fn now_ms(&self) -> u64 {
        // Monotonic, so that setting the machine's clock expires nothing.
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Upload>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use service::ManualClock;

    use super::*;

    #[test]
    fn an_upload_expires_an_hour_after_its_last_use() {
        let folder = tempfile::tempdir().unwrap();
        let manual = ManualClock::new(0);
        let floor = Floor { folder: folder.path().to_owned(), min_free: 0 };
        let path = folder.path().join("uploads");
        let uploads = Uploads::open(path.clone(), floor, manual.clock()).unwrap();
        let shop: Repository = "shop".parse().unwrap();
        let (left, used) =
            (uploads.start(shop.clone()).unwrap(), uploads.start(shop.clone()).unwrap());
        manual.advance(EXPIRES_AFTER);
        uploads.find(&shop, &used).unwrap();
        manual.advance(Duration::from_millis(1));
        assert_eq!(uploads.expire(), 1);
        assert!(uploads.find(&shop, &left).is_err() && uploads.find(&shop, &used).is_ok());
        assert!(uploads.find(&"other".parse().unwrap(), &used).is_err());
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
    }
}
