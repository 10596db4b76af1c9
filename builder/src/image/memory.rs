//! The memory that builds may use. BuildKit has no limit of its own for a build, but all its containers live in one
//! control group; that group is capped.

use std::{fs, io, path::Path};

/// Where the engine puts BuildKit's containers: under cgroup v1, and under v2 with the cgroupfs and systemd drivers.
const GROUPS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory/docker/buildkit", "memory.limit_in_bytes"),
    ("/sys/fs/cgroup/docker/buildkit", "memory.max"),
];

/// Caps all builds together; 0 lifts the cap. False if this machine has no such group.
pub fn cap(bytes: u64) -> io::Result<bool> {
    for (group, file) in GROUPS {
        let controller = Path::new(group).ancestors().nth(2).unwrap_or(Path::new("/"));
        if !controller.join(file).exists() && !controller.join("cgroup.controllers").exists() {
            continue;
        }
        // Before the engine's first build the group is not there yet; it takes one that is.
        fs::create_dir_all(group)?;
        let value = match (bytes, file) {
            (0, "memory.max") => "max".to_owned(),
            (0, _) => "-1".to_owned(),
            (bytes, _) => bytes.to_string(),
        };
        fs::write(Path::new(group).join(file), value)?;
        return Ok(true);
    }
    Ok(false)
}
