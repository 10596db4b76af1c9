//! A mark in the data folder while a restore prepares it: what was cut off is known, started by nobody, and cleared by the
//! same command.

use std::fs::{self, File, TryLockError};

use anyhow::{Context, bail};

use crate::cluster::{control, layout::Layout};

/// The mark, locked for as long as its restore is at work.
pub struct Unfinished {
    layout: Layout,
    _lock: File,
}

impl Unfinished {
    /// Marks a folder that exists.
    pub fn begin(layout: &Layout) -> anyhow::Result<Unfinished> {
        let path = layout.restoring();
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("write `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Unfinished { layout: layout.clone(), _lock: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("restore into `{}`: another restore is at work there", layout.data.display())
            }
            Err(TryLockError::Error(error)) => Err(error).context("lock the folder"),
        }
    }

    /// All is there.
    pub fn end(self) -> anyhow::Result<()> {
        let path = self.layout.restoring();
        fs::remove_file(&path).with_context(|| format!("remove `{}`", path.display()))
    }
}

/// Removes what a restore wrote that was cut off, if there is such a thing. Says whether there was. Blocks.
pub fn clear(layout: &Layout) -> anyhow::Result<bool> {
    if !layout.restoring().exists() {
        return Ok(false);
    }
    let unfinished = Unfinished::begin(layout)?;
    // Its registry may have outlived it.
    control::stop_all(layout, |_| ())?;
    let removed = || {
        for entry in fs::read_dir(&layout.data)? {
            let path = entry?.path();
            if path == layout.restoring() {
                continue;
            }
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        std::io::Result::Ok(())
    };
    removed().with_context(|| format!("clear `{}`", layout.data.display()))?;
    unfinished.end()?;
    Ok(true)
}

/// What keeps a folder from being started: half a restore is no cluster.
pub fn problem(layout: &Layout) -> Option<String> {
    layout.restoring().exists().then(|| {
        format!(
            "a restore into `{}` is at work, or was cut off. Run the same `clusterctl restore` again: it clears what was written and begins anew.",
            layout.data.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_cut_off_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        fs::create_dir_all(layout.authority()).unwrap();
        assert!(!clear(&layout).unwrap(), "this is somebody's");
        assert!(layout.authority().exists() && problem(&layout).is_none());

        let at_work = Unfinished::begin(&layout).unwrap();
        assert!(clear(&layout).unwrap_err().to_string().contains("at work"));
        assert!(layout.authority().exists());
        drop(at_work);
        assert!(problem(&layout).is_some());
        assert!(clear(&layout).unwrap());
        assert_eq!(fs::read_dir(&layout.data).unwrap().count(), 0);

        Unfinished::begin(&layout).unwrap().end().unwrap();
        assert!(problem(&layout).is_none(), "one that came to its end leaves no mark");
    }
}
