//! A value that is made of files and made anew when they change: certificates are renewed while programs run.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

type Make<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value and the files it is made of.
pub struct Fresh<T> {
    what: String,
    files: Vec<PathBuf>,
    make: Make<T>,
    held: Mutex<Held<T>>,
}

struct Held<T> {
    stamps: Vec<Option<Stamp>>,
    value: Arc<T>,
}

/// What is another one when a file is replaced or written.
type Stamp = (u64, u64, SystemTime);

impl<T> Fresh<T> {
    /// Makes the value for the first time. `what` names it in the log.
    pub fn new<E: Into<anyhow::Error>>(
        what: impl Into<String>,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Fresh<T>, E> {
        // Before the files are read: what changes meanwhile is read again.
        let stamps = stamps(&files);
        let value = Arc::new(make()?);
        let make: Make<T> = Box::new(move || make().map_err(|error| format!("{:#}", error.into())));
        let held = Mutex::new(Held { stamps, value });
        Ok(Fresh { what: what.into(), files, make, held })
    }

    /// The value as the files are now. While they make none, the last one: a renewal that is only half written, or
    /// went wrong, takes nothing away. The latter is told once.
    pub fn get(&self) -> Arc<T> {
        let now = stamps(&self.files);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.stamps != now {
            held.stamps = now;
            match (self.make)() {
                Ok(value) => {
                    held.value = Arc::new(value);
                    tracing::info!(what = self.what, "read again");
                }
                Err(error) => {
                    tracing::warn!(what = self.what, error, "cannot be read again; the old serves");
                }
            }
        }
        held.value.clone()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let file = fs::metadata(file).ok()?;
        Some((file.ino(), file.len(), file.modified().ok()?))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{PRIVATE, write_atomically};

    #[test]
    fn a_changed_file_is_read_again_and_a_spoiled_one_takes_nothing_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let write = |text: &str| write_atomically(&file, text.as_bytes(), PRIVATE).unwrap();
        write("1");
        let read = file.clone();
        let make = move || fs::read_to_string(&read).unwrap_or_default().parse::<u32>();
        let fresh = Fresh::new("number", vec![file.clone()], make).unwrap();
        let first = fresh.get();
        assert!(Arc::ptr_eq(&first, &fresh.get()), "unchanged files are not read again");
        write("2");
        assert_eq!(*fresh.get(), 2);
        write("two");
        assert_eq!(*fresh.get(), 2);
        fs::remove_file(&file).unwrap();
        assert_eq!(*fresh.get(), 2);
        write("3");
        assert_eq!(*fresh.get(), 3);
    }
}
