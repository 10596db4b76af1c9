//! Where a backup is written: a file that has its name only when it is whole and on disk, or standard output.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Stdout, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use service::durable::{PRIVATE, free_bytes};

/// What must be left on the disk.
const FREE_FLOOR: u64 = 64 << 20;

/// A backup being written. Dropped before [`Target::keep`], it leaves nothing.
pub struct Target {
    out: Out,
    written: u64,
}

enum Out {
    Stdout(Stdout),
    File { file: Option<BufWriter<File>>, partial: PathBuf, path: PathBuf },
}

impl Target {
    /// Begins one; a file that exists is not replaced.
    pub fn begin(path: &Path) -> anyhow::Result<Target> {
        if path == Path::new("-") {
            return Ok(Target { out: Out::Stdout(io::stdout()), written: 0 });
        }
        if path.exists() {
            bail!("write `{}`: it exists. Name another file", path.display());
        }
        let name = path.file_name().with_context(|| format!("write `{}`", path.display()))?;
        let mut partial = name.to_owned();
        partial.push(".partial");
        let partial = path.with_file_name(partial);
        // What an earlier one left that was cut off.
        let _ = fs::remove_file(&partial);
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&partial);
        let file = file.with_context(|| format!("create `{}`", partial.display()))?;
        let file = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Target { out: Out::File { file, partial, path: path.to_owned() }, written: 0 })
    }

    /// Refuses to write more than there is room for.
    pub fn expect_room(&self, bytes: u64) -> anyhow::Result<()> {
        let Out::File { partial, path, .. } = &self.out else { return Ok(()) };
        let free = free_bytes(partial).context("look at the free space")?;
        if free < bytes.saturating_add(FREE_FLOOR) {
            bail!(
                "write `{}`: only {} MiB are free there. Free some, or name a file on another disk",
                path.display(),
                free >> 20
            );
        }
        Ok(())
    }

    /// Gives the file its name, when all of it is on disk. Gives its size.
    pub fn keep(mut self) -> anyhow::Result<u64> {
        if let Out::File { file, partial, path } = &mut self.out {
            let written = file.take().expect("it is taken here only");
            let failed = || format!("write `{}`", path.display());
            let file = written.into_inner().map_err(io::IntoInnerError::into_error);
            file.with_context(failed)?.sync_all().with_context(failed)?;
            fs::rename(&*partial, &*path).with_context(failed)?;
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            let folder = File::open(folder.unwrap_or(Path::new(".")));
            folder.and_then(|folder| folder.sync_all()).with_context(failed)?;
        }
        Ok(self.written)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Out::File { partial, .. } = &self.out {
            // It is gone already when the backup was kept.
            let _ = fs::remove_file(partial);
        }
    }
}

impl Write for Target {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = match &mut self.out {
            Out::Stdout(stdout) => stdout.write(data)?,
            Out::File { file, .. } => file.as_mut().expect("it is taken at the end").write(data)?,
        };
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Stdout(stdout) => stdout.flush(),
            Out::File { file, .. } => file.as_mut().expect("it is taken at the end").flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_name_is_given_to_a_whole_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let mut target = Target::begin(&path).unwrap();
        target.write_all(b"half").unwrap();
        drop(target);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");

        fs::write(folder.path().join("backup.partial"), "of one that was killed").unwrap();
        let mut target = Target::begin(&path).unwrap();
        target.write_all(b"whole").unwrap();
        assert!(!path.exists());
        assert_eq!(target.keep().unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Target::begin(&path).is_err(), "a backup is not replaced");
    }
}
