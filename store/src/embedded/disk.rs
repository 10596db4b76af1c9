//! The redb file: its tables, how it is opened and opened again after a failed disk write, and reads of it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use rustix::fs::FallocateFlags;

use crate::{Entry, Listing, Revision, StoreError};

/// Key to (created, modified, value).
pub const ENTRIES: TableDefinition<&str, (u64, u64, &[u8])> = TableDefinition::new("entries");
/// The numbers of the store itself, under the two names below.
pub const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The revision of the last change.
pub const REVISION: &str = "revision";
const FORMAT: &str = "format";
/// The layout this program writes and the only one it reads.
const FORMAT_VERSION: u64 = 1;
/// Memory for pages of the file; the whole store of a small cluster fits.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Room kept on the disk for a repair of the file.
const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
/// How often and how long a reopening waits for reads still under way.
const REOPEN_WAIT: Duration = Duration::from_millis(5);
const REOPEN_WAITS: usize = 400;

/// Opens the database; kept, because after a failed disk write it must be opened anew.
pub type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// The open file.
pub struct Disk {
    opener: Opener,
    /// None between a failed disk write and the reopening that follows it.
    database: Mutex<Option<Arc<Database>>>,
}

impl Disk {
    /// Opens the file and says the revision it stands at.
    pub fn open(opener: Opener) -> Result<(Self, Revision), StoreError> {
        let database = opener()?;
        let revision = prepare(&database)?;
        let disk = Self { opener, database: Mutex::new(Some(Arc::new(database))) };
        Ok((disk, revision))
    }

    /// The database as open now.
    pub fn database(&self) -> Result<Arc<Database>, StoreError> {
        let database = self.slot().clone();
        database.ok_or_else(|| StoreError::Unavailable {
            detail: "its file could not be opened again after a failed write".into(),
            source: None,
        })
    }

    /// Closes the file, opens it again and says the revision found.
    ///
    /// redb refuses everything after an I/O error, because only a fresh look at the file tells what is in it.
    pub fn reopen(&self) -> Result<Revision, StoreError> {
        let broken = self.slot().take();
        if let Some(broken) = broken {
            self.close(broken)?;
        }
        let database = (self.opener)()?;
        let revision = prepare(&database)?;
        *self.slot() = Some(Arc::new(database));
        Ok(revision)
    }

    /// The entry at `key`.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let snapshot = self.snapshot()?;
        let entries = snapshot.open_table(ENTRIES).map_err(explain)?;
        let found = entries.get(key).map_err(explain)?;
        Ok(found.map(|stored| entry(key, stored.value())))
    }

    /// Every entry under `prefix`.
    pub fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let snapshot = self.snapshot()?;
        let entries = snapshot.open_table(ENTRIES).map_err(explain)?;
        let mut found = Vec::new();
        for row in entries.range(prefix..).map_err(explain)? {
            let (key, stored) = row.map_err(explain)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            found.push(entry(key.value(), stored.value()));
        }
        let meta = snapshot.open_table(META).map_err(explain)?;
        Ok(Listing { entries: found, revision: revision(&meta)? })
    }

    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        self.database()?.begin_read().map_err(explain)
    }

    /// Waits for reads under way, so that the file's lock is free again.
    fn close(&self, broken: Arc<Database>) -> Result<(), StoreError> {
        let mut broken = broken;
        for _ in 0..REOPEN_WAITS {
            match Arc::try_unwrap(broken) {
                Ok(database) => {
                    drop(database);
                    return Ok(());
                }
                Err(shared) => broken = shared,
            }
            thread::sleep(REOPEN_WAIT);
        }
        *self.slot() = Some(broken);
        Err(StoreError::Unavailable { detail: "reads still hold its file".into(), source: None })
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().expect("nothing panics while it holds the slot")
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Disk")
    }
}

/// Opens the file at `path`, or makes it, private to its owner and lasting through a power cut. A file that must be repaired
/// while its disk is full is given the room kept for that.
pub fn file_opener(path: &Path) -> Opener {
    let path = path.to_owned();
    let reserve = path.with_extension("reserve");
    Box::new(move || {
        let opened = match open(&path) {
            Err(StoreError::Full { .. }) if std::fs::remove_file(&reserve).is_ok() => open(&path),
            opened => opened,
        }?;
        if let Err(error) = keep_room(&reserve) {
            tracing::warn!(%error, "no room is kept for a repair of the store's file");
        }
        Ok(opened)
    })
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let file = make(path).map_err(|source| StoreError::Unavailable {
        detail: format!("open its file `{}`", path.display()),
        source: Some(Arc::new(source)),
    })?;
    Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            StoreError::InUse { path: path.display().to_string() }
        }
        other => explain(other),
    })
}

/// Fills a file with nothing, to be deleted when its room is needed.
fn keep_room(path: &Path) -> io::Result<()> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, RESERVE_BYTES)?)
}

fn make(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if is_new {
        // A new file's name outlives a power cut only when its folder is synced too.
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

/// Makes the tables of a new file, or refuses one of another format.
fn prepare(database: &Database) -> Result<Revision, StoreError> {
    let write = database.begin_write().map_err(explain)?;
    let (is_new, found) = {
        write.open_table(ENTRIES).map_err(explain)?;
        let mut meta = write.open_table(META).map_err(explain)?;
        let format = meta.get(FORMAT).map_err(explain)?.map(|it| it.value());
        match format {
            Some(FORMAT_VERSION) => {}
            Some(other) => {
                return Err(StoreError::Corrupt {
                    detail: format!("format {other}, where this program knows {FORMAT_VERSION}"),
                    source: None,
                });
            }
            None => {
                meta.insert(FORMAT, FORMAT_VERSION).map_err(explain)?;
                meta.insert(REVISION, 0).map_err(explain)?;
            }
        }
        (format.is_none(), revision(&meta)?)
    };
    if is_new {
        write.commit().map_err(explain)?;
    } else {
        write.abort().map_err(explain)?;
    }
    Ok(found)
}

/// The revision the tables stand at.
pub fn revision(meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, StoreError> {
    let stored = meta.get(REVISION).map_err(explain)?;
    let stored = stored.ok_or_else(|| StoreError::Corrupt {
        detail: "the file has no revision".into(),
        source: None,
    })?;
    Ok(Revision(stored.value()))
}

fn entry(key: &str, (created, modified, value): (u64, u64, &[u8])) -> Entry {
    Entry {
        key: key.into(),
        value: Bytes::copy_from_slice(value),
        created: Revision(created),
        modified: Revision(modified),
    }
}

/// What an error of redb means to a reader of the store.
pub fn explain(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    let detail = "read or write its file".to_owned();
    match &error {
        redb::Error::Io(io) if io.kind() == io::ErrorKind::StorageFull => {
            StoreError::Full { detail: "the disk is full".into() }
        }
        redb::Error::Io(io) if io.kind() == io::ErrorKind::InvalidData => StoreError::Corrupt {
            detail: "its file is not a store".into(),
            source: Some(Arc::new(error)),
        },
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. } => StoreError::Corrupt {
            detail: "its file is damaged or of another kind".into(),
            source: Some(Arc::new(error)),
        },
        _ => StoreError::Unavailable { detail, source: Some(Arc::new(error)) },
    }
}
