//! A small disk of its own that can be filled up and emptied again.

use std::path::PathBuf;
use std::process::Command;

use crate::{command::run, wait::until};

/// A file with a file system in it, mounted. Dropping it unmounts it.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// One of `size`, as `truncate` reads it. It takes room only as it is written to.
    #[track_caller]
    pub fn new(size: &str) -> Disk {
        let folder =
            tempfile::Builder::new().prefix("disk-").tempdir().expect("/tmp takes a folder");
        let disk = Disk { folder };
        std::fs::create_dir(disk.path()).expect("the folder takes another");
        let image = disk.folder.path().join("image");
        run(Command::new("truncate").args(["-s", size]).arg(&image)).ok();
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image)).ok();
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path())).ok();
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Takes all room but `left_bytes`, beside what it has taken before. Others write meanwhile, so what could not be taken
    /// is measured again.
    pub fn fill(&self, left_bytes: u64) {
        until(&format!("only {left_bytes} bytes are free"), || {
            let spare = self.free_bytes().saturating_sub(left_bytes);
            let taken = std::fs::metadata(self.ballast()).map_or(0, |file| file.len());
            let length = (taken + spare).to_string();
            let took = run(Command::new("fallocate").args(["-l", &length]).arg(self.ballast()));
            (took.code == Some(0)).then_some(())
        });
    }

    fn free_bytes(&self) -> u64 {
        let df = run(Command::new("df").args(["--output=avail", "-B1"]).arg(self.path())).ok();
        let free = df.stdout.lines().last().and_then(|line| line.trim().parse().ok());
        free.unwrap_or_else(|| panic!("df tells a number: {df:?}"))
    }

    /// Gives the room back.
    #[track_caller]
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let output = run(Command::new("umount").arg(self.path()));
        if !std::thread::panicking() {
            output.ok();
        }
    }
}
