//! The platform's programs as files: a folder of their own for a host, and another build of them for an upgrade.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// All of them.
const FILES: [&str; 9] = [
    "clusterctl",
    "paasctl",
    "trireme-agent",
    "trireme-builder",
    "trireme-controller",
    "trireme-logger",
    "trireme-pre-receive",
    "trireme-registry-proxy",
    "trireme-router",
];

/// Puts the programs of a folder into a new one.
pub fn place(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in FILES {
        let (from, to) = (from.join(name), to.join(name));
        // An upgrade renames others into their place, so the files themselves may be the same.
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ()))?;
    }
    Ok(())
}

/// Copies of the programs with a byte more: another build of the same version.
pub fn place_newer(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for name in FILES {
        let to = to.join(name);
        fs::copy(from.join(name), &to)?;
        fs::OpenOptions::new().append(true).open(&to)?.write_all(b"!")?;
    }
    Ok(())
}
