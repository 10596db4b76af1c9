//! The files of an upgrade: the new ones, those in place, and the previous ones beside them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::cluster::{
    layout::{HOOK, PROGRAMS},
    supervisor::runs_from,
};

/// What is no program of the supervisor's; the hook goes with the builder, who runs it.
const OTHERS: [&str; 3] = [HOOK, "paasctl", "clusterctl"];
const PREVIOUS: &str = "previous";
/// Lies there from when all was kept to the end of the upgrade.
const UNFINISHED: &str = "unfinished";

/// All files of the platform.
pub fn names() -> impl Iterator<Item = String> {
    PROGRAMS.iter().map(|program| program.binary()).chain(OTHERS.map(str::to_owned))
}

/// Newer programs and where they go.
pub struct Files {
    from: PathBuf,
    to: PathBuf,
}

impl Files {
    /// From one folder to another.
    pub fn new(from: PathBuf, to: PathBuf) -> Files {
        Files { from, to }
    }

    /// Whether a folder is the one where previous programs are kept, which an upgrade begins with replacing.
    pub fn is_previous(from: &Path, to: &Path) -> bool {
        to.join(PREVIOUS).canonicalize().is_ok_and(|previous| previous == from)
    }

    /// Whether the file in place is that of the new folder.
    pub fn is_there(&self, name: &str) -> io::Result<bool> {
        let place = self.to.join(name);
        Ok(place.exists() && fs::read(self.from.join(name))? == fs::read(place)?)
    }

    /// Keeps what is in place, unless an upgrade that was cut off has kept it already.
    pub fn keep_previous(&self) -> anyhow::Result<()> {
        if Files::is_begun(&self.to) {
            return Ok(());
        }
        let previous = self.to.join(PREVIOUS);
        let kept = || {
            if previous.exists() {
                fs::remove_dir_all(&previous)?;
            }
            fs::create_dir_all(&previous)?;
            for name in names().filter(|name| self.to.join(name).exists()) {
                link(&self.to.join(&name), &previous.join(&name))?;
            }
            // Last: until now nothing was replaced.
            fs::write(mark(&self.to), "")
        };
        kept().with_context(|| format!("keep the present programs in `{}`", previous.display()))
    }

    /// Whether an upgrade of a folder was begun and did not come to its end.
    pub fn is_begun(to: &Path) -> bool {
        mark(to).exists()
    }

    /// What runs is what lies there, all of it new or all of it old.
    pub fn end(&self) -> anyhow::Result<()> {
        fs::remove_file(mark(&self.to)).context("mark the upgrade as done")
    }

    /// Puts a new file in place, unless it is there.
    pub fn install(&self, name: &str) -> anyhow::Result<()> {
        if self.is_there(name).with_context(|| format!("compare `{name}`"))? {
            return Ok(());
        }
        put(&self.from.join(name), &self.to.join(name), copy)
    }

    /// Puts what no supervisor runs in place.
    pub fn install_others(&self) -> anyhow::Result<()> {
        OTHERS.iter().try_for_each(|name| self.install(name))
    }

    /// Puts the old file back.
    pub fn put_back(&self, name: &str) -> anyhow::Result<()> {
        put(&self.to.join(PREVIOUS).join(name), &self.to.join(name), link)
    }

    /// Whether a process runs from the file that is in place.
    pub fn is_installed(&self, name: &str, pid: u32) -> bool {
        runs_from(&self.to.join(name), pid)
    }
}

fn mark(to: &Path) -> PathBuf {
    to.join(PREVIOUS).join(UNFINISHED)
}

/// Puts a file beside its place and renames it, so that a program that runs keeps its own.
fn put(from: &Path, to: &Path, how: fn(&Path, &Path) -> io::Result<()>) -> anyhow::Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = to.with_file_name(format!(".{name}.new"));
    // What an earlier try left.
    let _ = fs::remove_file(&beside);
    let placed = how(from, &beside).and_then(|()| fs::rename(&beside, to));
    placed.with_context(|| format!("put `{}` in the place of `{}`", from.display(), to.display()))
}

/// The same file, so that what still runs from it does so when it is put back.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    fs::File::open(to)?.sync_all()
}
