//! The member of etcd here while it is recovered: stopped, copied, started once to go on alone.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command as Process, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use service::durable::create_private_dir;

use super::super::{
    etcd,
    layout::{ETCD, Layout},
    process,
    supervisor::{self, Command},
};

const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// A member without a quorum waits for half a minute for the others before it ends. What it acknowledged is on its disk.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to end after that; one that goes on alone ends on SIGTERM.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// How the supervisor runs it.
pub fn command(layout: &Layout) -> anyhow::Result<Command> {
    let table = supervisor::read_table(layout).context("read the table of programs")?;
    let found = table.into_iter().find(|command| command.name == ETCD.name);
    found.context("find etcd among the programs of this node")
}

/// Stops it, however it was started. Blocks.
pub fn stop(layout: &Layout, command: &Command) -> anyhow::Result<()> {
    let forced = etcd::forced(command);
    let words = [forced.path.to_string_lossy().into_owned()].into_iter().chain(forced.arguments);
    let left = process::Process::with_command(&words.collect::<Vec<_>>());
    for process in left.into_iter().chain(supervisor::find(layout, command)) {
        let Some(watch) = process.watch() else { continue };
        watch.signal(Signal::TERM).context("stop etcd")?;
        if !watch.wait(Some(END_PATIENCE)) {
            watch.signal(Signal::KILL).context("stop etcd")?;
        }
        if !watch.wait(Some(END_DEADLINE)) {
            bail!("stop etcd: process {} does not end", process.pid);
        }
    }
    Ok(())
}

/// Where what was there before a recovery is kept.
pub fn copy_folder(layout: &Layout, operation: &str) -> PathBuf {
    layout.program(ETCD.name).join(format!("before-{operation}"))
}

/// How many bytes a copy takes.
pub fn size(layout: &Layout) -> io::Result<u64> {
    let mut bytes = 0;
    walk(&etcd::data(layout), &mut |path| {
        bytes += path.metadata()?.len();
        Ok(())
    })?;
    Ok(bytes)
}

/// Copies its folder while it is stopped. What an earlier try left of a copy is replaced. Blocks.
pub fn copy(layout: &Layout, operation: &str) -> io::Result<()> {
    let (from, to) = (etcd::data(layout), copy_folder(layout, operation));
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    create_private_dir(&to).map_err(io::Error::other)?;
    walk(&from, &mut |path| {
        let inside = path.strip_prefix(&from).map_err(io::Error::other)?;
        let target = to.join(inside);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(path, &target)?;
        File::open(&target)?.sync_all()
    })
}

/// Shows each file below a folder.
fn walk(folder: &Path, seen: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, seen)?;
        } else {
            seen(&path)?;
        }
    }
    Ok(())
}

/// A member that was started to go on alone. It is ended with this.
pub struct Alone(Child);

impl Alone {
    /// Starts it.
    pub fn start(layout: &Layout, command: &Command) -> anyhow::Result<Alone> {
        let forced = etcd::forced(command);
        let log = File::options().create(true).append(true).open(layout.log(ETCD.name))?;
        let child = Process::new(&forced.path)
            .args(&forced.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn();
        Ok(Alone(child.context("start etcd")?))
    }

    /// Fails when it has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "keep etcd running: it ended with {status}. See `clusterctl logs etcd`, then run this again"
            ),
        }
    }

    /// Ends it well.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let watch = process::Watch::of_child(&self.0).context("watch etcd")?;
        watch.signal(Signal::TERM).context("stop etcd")?;
        let began = Instant::now();
        while self.0.try_wait()?.is_none() {
            if began.elapsed() > END_DEADLINE {
                bail!("stop etcd within {END_DEADLINE:?}");
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        Ok(())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // One that is ended already was collected, and is not signalled again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_whole_and_replaces_what_an_earlier_try_left() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let data = etcd::data(&layout).join("member");
        fs::create_dir_all(data.join("snap")).unwrap();
        fs::write(data.join("snap").join("db"), "pages").unwrap();
        let copy_of = copy_folder(&layout, "t1").join("member").join("snap");
        fs::create_dir_all(&copy_of).unwrap();
        fs::write(copy_of.join("half"), "pag").unwrap();
        copy(&layout, "t1").unwrap();
        assert_eq!(fs::read_to_string(copy_of.join("db")).unwrap(), "pages");
        assert!(!copy_of.join("half").exists());
        assert_eq!(size(&layout).unwrap(), 5);
    }

    #[test]
    fn the_flag_stands_on_a_command_of_its_own_only() {
        let (name, path) = ("etcd".to_owned(), PathBuf::from("/usr/bin/etcd"));
        let command = Command { name, path, arguments: vec!["--name=n1".to_owned()] };
        assert_eq!(etcd::forced(&command).arguments, ["--name=n1", "--force-new-cluster=true"]);
        assert_eq!(command.arguments, ["--name=n1"]);
    }
}
