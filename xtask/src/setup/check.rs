//! Is this a machine we can set up: root, Debian 12, and room on the disk?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repository;

const GIB: u64 = 1024 * 1024 * 1024;

/// Room for packages, the stack image and a full build of the workspace.
const FRESH_ROOM: u64 = 10 * GIB;
/// Room to go on working on a machine that has all that.
const USUAL_ROOM: u64 = 2 * GIB;

/// Fails unless this is root on Debian 12.
pub fn identity() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "set-up needs root: it installs packages and starts Docker. Run it again as root, or with `sudo --preserve-env=PATH`"
        );
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian_12(&release) {
        let name = field(&release, "PRETTY_NAME").unwrap_or("an unknown system");
        bail!(
            "this machine runs {name}, and Trireme is set up on Debian 12 (bookworm) only. Use a Debian 12 machine, virtual or not"
        );
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "`/usr/bin/apt-get` is missing, so no package can be installed. Use a Debian 12 machine with apt"
        );
    }
    Ok(())
}

/// Fails when Docker's or cargo's folder has too little room.
pub fn disk(is_fresh: bool) -> Result<()> {
    let needed = if is_fresh { FRESH_ROOM } else { USUAL_ROOM };
    for folder in
        [PathBuf::from("/var/lib/docker"), PathBuf::from("/var/tmp"), repository::target()]
    {
        let existing = existing_ancestor(&folder);
        let status = rustix::fs::statvfs(existing)
            .with_context(|| format!("ask for the free room of `{}`", existing.display()))?;
        let free = status.f_bavail * status.f_frsize;
        if free < needed {
            bail!(
                "`{}` has {:.1} GiB free and {} GiB are needed. Free some room there (`docker system prune` and `cargo clean` \
                 are good first steps), or mount a larger disk",
                existing.display(),
                free as f64 / GIB as f64,
                needed / GIB
            );
        }
    }
    Ok(())
}

fn is_debian_12(release: &str) -> bool {
    field(release, "ID") == Some("debian") && field(release, "VERSION_ID") == Some("12")
}

fn field<'a>(release: &'a str, key: &str) -> Option<&'a str> {
    let value = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches('"'))
}

fn existing_ancestor(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_12_is_debian_12() {
        let table = [
            ("ID=debian\nVERSION_ID=\"12\"\n", true),
            ("VERSION_ID=12\nID=debian\n", true),
            ("ID=debian\nVERSION_ID=\"13\"\n", false),
            ("ID=ubuntu\nVERSION_ID=\"12\"\n", false),
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"12\"\n", false),
            ("", false),
        ];
        for (release, wanted) in table {
            assert_eq!(is_debian_12(release), wanted, "{release:?}");
        }
    }

    #[test]
    fn room_is_asked_of_the_nearest_folder_that_exists() {
        assert_eq!(existing_ancestor(Path::new("/etc/no/such/folder")), Path::new("/etc"));
    }
}
