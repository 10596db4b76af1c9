//! How far a container's output was delivered, kept over restarts of the agent.
//!
//! The engine can start reading at a whole second only. So a position is a second and how many lines from that second on
//! are delivered. A batch is written down before it is sent: after a crash the same lines go out under the same number,
//! and the logger stores them once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

const NS: i64 = 1_000_000_000;

/// A position in one container's output.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    at: Position,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// Under this name the logger counts batches. Made anew with the file, so that numbers never start again.
    source: String,
    /// The last number used.
    sequence: u64,
    second: i64,
    lines: u64,
    latest_ns: i64,
    /// Lines of a batch that was not acknowledged.
    sending: Option<usize>,
}

impl Cursor {
    /// The position kept at `path`, or the beginning.
    pub fn open(path: PathBuf, name: &str) -> Cursor {
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let at = kept.unwrap_or_else(|| Position {
            source: format!("{name}/{:08x}", rand::random::<u32>()),
            sequence: 0,
            second: 0,
            lines: 0,
            latest_ns: 0,
            sending: None,
        });
        Cursor { path, at }
    }

    /// Keeps the position. A power cut may lose the last ones, which repeats a few lines: not worth a sync per batch.
    pub fn save(&self) {
        let temporary = self.path.with_extension("tmp");
        let bytes = serde_json::to_vec(&self.at).expect("a position is plain data");
        let saved = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, &self.path));
        if let Err(error) = saved {
            tracing::warn!(%error, path = %self.path.display(), "a log position was not kept");
        }
    }

    /// The name under which batches are counted.
    pub fn source(&self) -> &str {
        &self.at.source
    }

    /// Where the engine starts to read.
    pub fn since_second(&self) -> i32 {
        i32::try_from(self.at.second).unwrap_or(i32::MAX)
    }

    /// The latest time delivered.
    pub fn latest_ns(&self) -> i64 {
        self.at.latest_ns
    }

    /// How many lines the unacknowledged batch has.
    pub fn sending(&self) -> Option<usize> {
        self.at.sending
    }

    /// Leaves out what was delivered, when output is read from `since_second` on.
    pub fn resume(&self) -> Skipper {
        Skipper { left: self.at.lines, latest_ns: self.at.latest_ns }
    }

    /// A batch of so many lines goes out; returns its number.
    pub fn begin(&mut self, lines: usize) -> u64 {
        if self.at.sending.replace(lines).is_none() {
            self.at.sequence += 1;
        }
        self.at.sequence
    }

    /// The batch was acknowledged: these lines, in the order they were read.
    pub fn acknowledged(&mut self, stamps: &[i64]) {
        self.at.sending = None;
        for at_ns in stamps {
            let second = at_ns.div_euclid(NS);
            if second > self.at.second {
                (self.at.second, self.at.lines) = (second, 1);
            } else if second == self.at.second {
                self.at.lines += 1;
            }
            self.at.latest_ns = self.at.latest_ns.max(*at_ns);
        }
    }
}

/// Tells delivered lines from new ones.
#[derive(Debug)]
pub struct Skipper {
    left: u64,
    latest_ns: i64,
}

impl Skipper {
    /// Whether the next line was delivered.
    pub fn skips(&mut self, at_ns: i64) -> bool {
        // The engine may have dropped old lines meanwhile: a line later than all delivered ones is new in any case.
        if self.left == 0 || at_ns > self.latest_ns {
            self.left = 0;
            return false;
        }
        self.left -= 1;
        true
    }
}

/// Where a container's position is kept.
pub fn path(folder: &Path, container: &str) -> PathBuf {
    folder.join(format!("{container}.json"))
}

/// The container is gone, its position too.
pub fn remove(folder: &Path, container: &str) {
    match fs::remove_file(path(folder, container)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, container, "a log position was not removed"),
    }
}

/// Removes the positions of all containers but these.
pub fn sweep(folder: &Path, containers: &[String]) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let container = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !containers.contains(&container) {
            remove(folder, &container);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is delivered when reading `output` from the cursor on, by whole seconds as the engine does.
    fn unread(cursor: &Cursor, output: &[i64]) -> Vec<i64> {
        let mut skipper = cursor.resume();
        let read = output.iter().filter(|at| at.div_euclid(NS) >= i64::from(cursor.since_second()));
        read.filter(|at| !skipper.skips(**at)).copied().collect()
    }

    #[test]
    fn reading_on_neither_repeats_nor_loses_lines() {
        // Several lines of one moment, and two written in another order than their times.
        let output = [NS, NS, NS + 5, 2 * NS + 7, 2 * NS + 6, 2 * NS + 6, 3 * NS, 9 * NS];
        for delivered in 0..=output.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = path(folder.path(), "c");
            let mut cursor = Cursor::open(path.clone(), "n");
            for at in &output[..delivered] {
                cursor.begin(1);
                cursor.acknowledged(&[*at]);
            }
            cursor.save();
            assert_eq!(unread(&Cursor::open(path, "n"), &output), output[delivered..]);
        }
    }

    #[test]
    fn lines_the_engine_dropped_do_not_hide_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::open(path(folder.path(), "c"), "n");
        cursor.begin(3);
        cursor.acknowledged(&[NS, NS + 1, NS + 2]);
        assert_eq!(unread(&cursor, &[NS + 2, NS + 3]), [NS + 3]);
    }

    #[test]
    fn a_batch_sent_again_keeps_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "c");
        let mut cursor = Cursor::open(path.clone(), "n");
        assert_eq!(cursor.begin(2), 1);
        cursor.save();
        let mut again = Cursor::open(path.clone(), "n");
        assert_eq!((again.sending(), again.source()), (Some(2), cursor.source()));
        assert_eq!(again.begin(2), 1);
        again.acknowledged(&[1, 2]);
        assert_eq!(again.begin(1), 2);
    }

    #[test]
    fn only_living_containers_keep_their_position() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            Cursor::open(path(folder.path(), name), "n").save();
        }
        sweep(folder.path(), &["b".to_owned()]);
        assert!(!path(folder.path(), "a").exists() && path(folder.path(), "b").exists());
    }
}
