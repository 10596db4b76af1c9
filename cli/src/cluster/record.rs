//! What is known about the running parts, one small file each, and the locks that allow one process of a kind.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service::durable::{DurableError, PRIVATE, read_json, write_json};

use super::{layout::Layout, process::Process};

const VERSION: u32 = 1;

/// What the supervisor knows about a program. Written by the supervisor only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// How it ended last, if it ever did.
    pub last_end: Option<String>,
    /// The fingerprint of the settings it was started with.
    #[serde(default)]
    pub settings: Option<String>,
    /// What it does now.
    pub state: State,
}

/// What a program does now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was not started, or was stopped by an operator.
    #[default]
    Stopped,
    /// It runs.
    Running(Process),
    /// It ended and is started again after a pause.
    Paused {
        /// How long the pause is.
        pause_ms: u64,
    },
}

impl Record {
    /// The record of a program; the empty one where none can be read.
    pub fn read(layout: &Layout, program: &str) -> Record {
        read_json(&layout.record(program), VERSION).ok().flatten().unwrap_or_default()
    }

    /// Replaces the record of a program.
    pub fn write(&self, layout: &Layout, program: &str) -> Result<(), DurableError> {
        write_json(&layout.record(program), VERSION, self, PRIVATE)
    }

    /// The program's process, if it runs.
    pub fn living(&self) -> Option<&Process> {
        match &self.state {
            State::Running(process) if process.is_alive() => Some(process),
            State::Running(_) | State::Stopped | State::Paused { .. } => None,
        }
    }
}

/// The process that holds a lock of this name (`supervisor`, `guardian`), if it lives and has said so.
pub fn holder(layout: &Layout, name: &str) -> Option<Process> {
    let process: Process = read_json(&layout.record(name), VERSION).ok().flatten()?;
    process.is_alive().then_some(process)
}

/// That a program is not started, because somebody works on its files. It ends with this, or with its process.
#[derive(Debug)]
pub struct Hold(PathBuf);

impl Hold {
    /// Holds a program; it has yet to be stopped.
    pub fn of(layout: &Layout, program: &str) -> Result<Hold, DurableError> {
        let path = layout.record(&hold_name(program));
        write_json(&path, VERSION, &Process::own(), PRIVATE)?;
        Ok(Hold(path))
    }

    /// Whether somebody holds the program.
    pub fn is_on(layout: &Layout, program: &str) -> bool {
        holder(layout, &hold_name(program)).is_some()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // One that stays behind ends with this process.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn hold_name(program: &str) -> String {
    format!("{program}-hold")
}

/// The proof of being the only process of a name; it ends with the process, however that ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holding the open file is holding the lock")] File);

impl Lock {
    /// Takes the lock and writes down who holds it; none if another process does.
    pub fn take(layout: &Layout, name: &str) -> Result<Option<Lock>, std::io::Error> {
        let Some(lock) = Lock::try_file(layout, name)? else { return Ok(None) };
        write_json(&layout.record(name), VERSION, &Process::own(), PRIVATE)
            .map_err(std::io::Error::other)?;
        Ok(Some(lock))
    }

    /// Whether some process holds the lock.
    pub fn is_held(layout: &Layout, name: &str) -> bool {
        layout.lock(name).exists() && matches!(Lock::try_file(layout, name), Ok(None))
    }

    fn try_file(layout: &Layout, name: &str) -> Result<Option<Lock>, std::io::Error> {
        let path = layout.lock(name);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        std::fs::create_dir(layout.run()).unwrap();
        (folder, layout)
    }

    #[test]
    fn a_lock_is_held_once_and_ends_with_its_holder() {
        let (_folder, layout) = layout();
        assert!(!Lock::is_held(&layout, "supervisor"));
        let lock = Lock::take(&layout, "supervisor").unwrap().unwrap();
        assert!(Lock::take(&layout, "supervisor").unwrap().is_none());
        assert!(Lock::is_held(&layout, "supervisor"));
        assert_eq!(holder(&layout, "supervisor"), Some(Process::own()));
        drop(lock);
        assert!(!Lock::is_held(&layout, "supervisor"));
    }

    #[test]
    fn a_hold_ends_with_whoever_holds() {
        let (_folder, layout) = layout();
        assert!(!Hold::is_on(&layout, "etcd"));
        let hold = Hold::of(&layout, "etcd").unwrap();
        assert!(Hold::is_on(&layout, "etcd") && !Hold::is_on(&layout, "router"));
        drop(hold);
        assert!(!Hold::is_on(&layout, "etcd"));
        let own = Process::own();
        let gone = Process { start_ticks: own.start_ticks - 1, ..own };
        write_json(&layout.record("etcd-hold"), VERSION, &gone, PRIVATE).unwrap();
        assert!(!Hold::is_on(&layout, "etcd"));
    }

    #[test]
    fn a_record_of_a_recycled_id_is_not_a_living_program() {
        let (_folder, layout) = layout();
        let own = Process::own();
        let mut record = Record { state: State::Running(own.clone()), ..Record::default() };
        record.write(&layout, "router").unwrap();
        assert_eq!(Record::read(&layout, "router").living(), Some(&own));
        record.state = State::Running(Process { start_ticks: own.start_ticks - 1, ..own });
        record.write(&layout, "router").unwrap();
        assert_eq!(Record::read(&layout, "router").living(), None);
    }

    #[test]
    fn a_spoiled_record_counts_as_none() {
        let (_folder, layout) = layout();
        std::fs::write(layout.record("router"), "{\"ver").unwrap();
        assert_eq!(Record::read(&layout, "router"), Record::default());
    }
}
