//! A process that cannot be mistaken for another: its id, when it started, and the boot it started in.
//!
//! A process id alone is reused; with the start time and the boot it is not. Every signal goes through a descriptor
//! of the process that was opened before its identity was checked, so it can never hit a stranger.

use std::{fs, io, os::fd::OwnedFd, process::Child, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

/// The kernel tells times in `/proc` in this unit on every Linux a user program sees.
const TICKS_PER_SECOND: u64 = 100;

/// Which process, for all time on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in hundredths of a second since the boot.
    pub start_ticks: u64,
    /// The boot's id.
    pub boot: String,
}

/// An open descriptor of a process: waits for its end and signals it.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Process {
    /// The process that has this id now; none if it has ended, even if nobody has collected it yet.
    pub fn of(pid: u32) -> Option<Process> {
        let stat = Stat::read(pid)?;
        Some(Process { pid, start_ticks: stat.start_ticks, boot: boot() })
    }

    /// This process.
    pub fn own() -> Process {
        Process::of(std::process::id()).expect("the process that asks is running")
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        Process::of(self.pid).as_ref() == Some(self)
    }

    /// A descriptor of it; none if it has ended.
    pub fn watch(&self) -> Option<Watch> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Checked after opening: if it matches now, the descriptor is of this very process.
        self.is_alive().then_some(Watch(descriptor))
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        let since_boot = fs::read_to_string("/proc/uptime").ok();
        let seconds: f64 = since_boot
            .as_deref()
            .and_then(|text| text.split_whitespace().next())
            .and_then(|text| text.parse().ok())
            .unwrap_or_default();
        let now = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(self.start_ticks * 1000 / TICKS_PER_SECOND))
    }

    /// Memory it holds, in bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// Running processes whose command line ends with these words.
    pub fn with_command(words: &[String]) -> Vec<Process> {
        let found = |pid: u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let given: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
            let matches = given.len() >= words.len()
                && given[given.len() - words.len()..].iter().zip(words).all(|(a, b)| a == b);
            matches.then(|| Process::of(pid)).flatten()
        };
        all_pids().into_iter().filter_map(found).collect()
    }
}

impl Watch {
    /// Of a child that was not collected yet, so that its id is still its own.
    pub fn of_child(child: &Child) -> io::Result<Watch> {
        let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = raw.ok_or_else(|| io::Error::other("the child has no process id"))?;
        Ok(Watch(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Waits for the end; false if it did not come in time.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        loop {
            let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut descriptors, limit.as_ref()) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Sends a signal; that the process has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Every process id of the machine.
pub fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

struct Stat {
    start_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// None for a process that has ended and waits to be collected. The name in parentheses may itself hold any sign.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let (state, start) = (fields.first()?, fields.get(19)?);
        if matches!(*state, "Z" | "X" | "x") {
            return None;
        }
        Some(Stat { start_ticks: start.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, state: &str) -> String {
        format!("17 ({name}) {state} 1 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 100 200")
    }

    #[test]
    fn the_start_time_is_read_whatever_the_name() {
        for name in ["sh", "a b", "evil) S 1 (x", ")))"] {
            assert_eq!(Stat::parse(&line(name, "S")).map(|stat| stat.start_ticks), Some(987_654));
        }
        assert!(Stat::parse(&line("sh", "Z")).is_none(), "a zombie has ended");
        assert!(Stat::parse("17 (sh").is_none());
    }

    #[test]
    fn the_same_id_with_another_start_or_boot_is_another_process() {
        let own = Process::own();
        assert!(own.is_alive() && own.watch().is_some());
        let recycled = Process { start_ticks: own.start_ticks + 1, ..own.clone() };
        assert!(!recycled.is_alive() && recycled.watch().is_none());
        let before_reboot = Process { boot: "another".to_owned(), ..own };
        assert!(!before_reboot.is_alive() && before_reboot.watch().is_none());
    }

    #[test]
    fn an_end_is_seen_before_anyone_collects_it() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let watch = process.watch().unwrap();
        assert!(!watch.wait(Some(Duration::ZERO)));
        watch.signal(Signal::KILL).unwrap();
        assert!(watch.wait(Some(Duration::from_secs(10))));
        assert!(!process.is_alive(), "it is a zombie now, and counts as ended");
        child.wait().unwrap();
        watch.signal(Signal::TERM).unwrap();
    }
}
