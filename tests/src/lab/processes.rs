//! The processes of a host: those in its network namespace, and whatever they started, containers included.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use super::{Host, done, until};

/// Every living process of the host.
pub(super) fn of(host: &Host) -> BTreeSet<u32> {
    let Ok(namespace) = std::fs::metadata(host.namespace_file()) else { return BTreeSet::new() };
    let parents = parents();
    let is_inside = |pid: &u32| {
        let own = std::fs::metadata(Path::new("/proc").join(pid.to_string()).join("ns/net"));
        own.is_ok_and(|own| (own.ino(), own.dev()) == (namespace.ino(), namespace.dev()))
    };
    let mut ours: BTreeSet<u32> = parents.keys().copied().filter(|pid| is_inside(pid)).collect();
    // Containers have namespaces of their own; their parents have not.
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| ours.contains(parent) && !ours.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return ours;
        }
        ours.extend(more);
    }
}

/// Ends them all at once, as a power cut does, and waits until they are gone.
pub(super) fn kill(host: &Host) -> Result<()> {
    until("its processes are gone", || {
        let pids: Vec<String> = of(host).iter().map(u32::to_string).collect();
        if !pids.is_empty() {
            // One that has ended meanwhile is no failure.
            let _ = done(std::process::Command::new("kill").arg("-KILL").args(&pids));
        }
        pids.is_empty()
    })
}

/// Living processes and their parents.
fn parents() -> BTreeMap<u32, u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_alive = !matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        is_alive.then_some((pid, parent))
    })
    .collect()
}
