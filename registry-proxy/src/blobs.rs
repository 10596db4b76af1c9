//! The content-addressed folder: `sha256/<2 digits>/<64 digits>`, each file whole, verified and synced before it gets its name.

use std::{
    fs::{self, DirEntry, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use crate::name::Digest;

/// The blobs of this node. All calls block.
#[derive(Debug)]
pub struct Blobs {
    root: PathBuf,
}

/// A blob as it lies on the disk.
#[derive(Debug)]
pub struct Stored {
    /// Its name.
    pub digest: Digest,
    /// Its file.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// When somebody last relied on it, in milliseconds since 1970.
    pub touched_ms: u64,
}

impl Blobs {
    /// The blobs below `root`, which is created.
    pub fn open(root: PathBuf) -> io::Result<Blobs> {
        fs::create_dir_all(root.join("sha256"))?;
        sync_folder(&root)?;
        Ok(Blobs { root })
    }

    /// The blob's file and size, if it is here.
    pub fn read(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        match File::open(self.path(digest)) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The blob's size, if it is here; it then counts as young, because the asker may rely on the answer.
    pub fn touch(&self, digest: &Digest) -> io::Result<Option<u64>> {
        let Some((file, size)) = self.read(digest)? else { return Ok(None) };
        touch(&file)?;
        Ok(Some(size))
    }

    /// Gives a synced file its name. The caller has verified that `digest` is its content's.
    pub fn adopt(&self, file: &File, path: &Path, digest: &Digest) -> io::Result<()> {
        touch(file)?;
        let target = self.path(digest);
        let shard = target.parent().expect("a blob's path has a shard");
        match fs::create_dir(shard) {
            Ok(()) => sync_folder(&self.root.join("sha256"))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        fs::rename(path, &target)?;
        sync_folder(shard)
    }

    /// Every blob. One that goes while this runs may be in it or not.
    pub fn list(&self) -> io::Result<Vec<Stored>> {
        let mut all = Vec::new();
        for shard in fs::read_dir(self.root.join("sha256"))? {
            for entry in fs::read_dir(shard?.path())? {
                all.extend(stored(&entry?)?);
            }
        }
        Ok(all)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join("sha256").join(&hex[..2]).join(hex)
    }
}

/// The blob a folder entry is; none for a file of another kind.
fn stored(entry: &DirEntry) -> io::Result<Option<Stored>> {
    let Some(digest) = entry.file_name().to_str().and_then(Digest::from_hex) else {
        return Ok(None);
    };
    let metadata = entry.metadata()?;
    let touched = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let touched_ms = u64::try_from(touched.as_millis()).unwrap_or(u64::MAX);
    Ok(Some(Stored { digest, path: entry.path(), size: metadata.len(), touched_ms }))
}

/// Sets the file's time of last use, which is its modification time.
pub fn touch(file: &File) -> io::Result<()> {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    Ok(futimens(file, &times)?)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
