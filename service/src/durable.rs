//! Files that survive a power cut: written whole or not at all, private where they hold secrets.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The mode of files that hold keys or tokens.
pub const PRIVATE: u32 = 0o600;
/// The mode of files anyone on the machine may read.
pub const PUBLIC: u32 = 0o644;

/// Why a file could not be kept or read back.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The file system refused.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The file is not the JSON it should be.
    #[error("read document `{path}`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it departs.
        #[source]
        cause: serde_json::Error,
    },
    /// The document was written by a later release.
    #[error("read document `{path}`: it has version {found}, this program knows up to {known}")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
}

/// Replaces `path` by `bytes`: after a crash at any moment the file is wholly the old or wholly the new one.
/// Blocks; the folder must exist.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    let temporary = temporary_beside(path);
    let written = write_and_rename(&temporary, path, bytes, mode);
    if written.is_err() {
        // The write's own error is the one worth telling.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_and_rename(
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<(), DurableError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temporary)
        .map_err(failed("create", temporary))?;
    // The mode given to open is cut by the umask; this one is exact.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of", temporary))?;
    file.write_all(bytes).map_err(failed("write", temporary))?;
    file.sync_all().map_err(failed("sync", temporary))?;
    fs::rename(temporary, path).map_err(failed("replace", path))?;
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// A name no other writer uses, in the same folder so that the rename is atomic.
fn temporary_beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

#[derive(Serialize, Deserialize)]
struct Document<T> {
    version: u32,
    document: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Writes `{"version": .., "document": ..}` atomically.
pub fn write_json<T: Serialize>(
    path: &Path,
    version: u32,
    document: &T,
    mode: u32,
) -> Result<(), DurableError> {
    let bytes = serde_json::to_vec(&Document { version, document })
        .map_err(|cause| DurableError::Malformed { path: path.to_owned(), cause })?;
    write_atomically(path, &bytes, mode)
}

/// Reads what [`write_json`] wrote; none where there is no file. A document of an older version is read with the
/// same type, whose new fields then need serde defaults; a newer version is refused.
pub fn read_json<T: DeserializeOwned>(path: &Path, known: u32) -> Result<Option<T>, DurableError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed("read", path)(cause)),
    };
    let malformed = |cause| DurableError::Malformed { path: path.to_owned(), cause };
    let VersionOnly { version: found } = serde_json::from_slice(&bytes).map_err(malformed)?;
    if found > known {
        return Err(DurableError::TooNew { path: path.to_owned(), found, known });
    }
    let document: Document<T> = serde_json::from_slice(&bytes).map_err(malformed)?;
    Ok(Some(document.document))
}

/// Makes a folder and its parents; the folder itself ends up readable by its owner only (0700).
pub fn create_private_dir(path: &Path) -> Result<(), DurableError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("create folder", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(failed("set the mode of", path))
}

/// Bytes an unprivileged writer may still use on the file system that holds `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DurableError {
    let path = path.to_owned();
    move |cause| DurableError::Io { action, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_with_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, "a long old text").unwrap();
        write_atomically(&path, b"new", PRIVATE).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode_of(&path)), ("new", PRIVATE));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "kept").unwrap();
        write_atomically(&path, b"new", PUBLIC).unwrap_err();
        assert_eq!(fs::read_to_string(path.join("inside")).unwrap(), "kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_document_comes_back_and_a_newer_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        assert_eq!(read_json::<Vec<u8>>(&path, 1).unwrap(), None);
        write_json(&path, 2, &vec![1_u8, 2], PUBLIC).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"version":2,"document":[1,2]}"#);
        assert_eq!(read_json::<Vec<u8>>(&path, 2).unwrap(), Some(vec![1, 2]));
        let error = read_json::<Vec<u8>>(&path, 1).unwrap_err();
        assert!(matches!(error, DurableError::TooNew { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn a_torn_document_is_an_error_and_not_an_absence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        fs::write(&path, r#"{"version":1,"docu"#).unwrap();
        assert!(matches!(read_json::<Vec<u8>>(&path, 1), Err(DurableError::Malformed { .. })));
    }

    #[test]
    fn a_private_folder_is_closed_to_others_even_if_it_was_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        create_private_dir(&path).unwrap();
        assert_eq!(mode_of(&path), 0o700);
    }

    #[test]
    fn free_space_is_known() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
    }
}
