//! Keeps one program running: adopts or starts it, waits for its end, pauses, starts it again, and stops it when asked.

use std::{
    fs, io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{self, Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use service::Stop;
use sha2::{Digest, Sha256};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use super::super::{
    backup::archive::hex,
    layout::{ETCD, Layout},
    process::{Process, Watch},
    record::{Hold, Record, State},
};
use super::{Command, log_files, note, pauses::Pauses, watchdog::hangs};

/// How long a program may take to end after SIGTERM: its own deadline to drain, and a little.
pub const STOP_DEADLINE: Duration = Duration::from_secs(32);
/// How often is looked whether a program is held no more.
const HOLD_PERIOD: Duration = Duration::from_millis(100);
/// How long the kernel may take after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long a new program may take until the old one, whose place it takes, has ended.
const TAKE_OVER_DEADLINE: Duration = Duration::from_secs(60);
/// The program that takes the place of a running one by itself.
const TAKES_OVER: &str = "router";

/// One program and what is known about it.
pub struct Keeper {
    layout: Layout,
    command: Command,
    record: Record,
    pauses: Pauses,
    running: Option<Running>,
}

/// A program that runs. One that was adopted is no child of ours: its exit code is lost to us.
struct Running {
    process: Process,
    watch: Arc<Watch>,
    ending: JoinHandle<()>,
    child: Option<(Child, Instant)>,
}

impl Keeper {
    /// Adopts the program if it still runs from before, else starts it. Needs a running tokio.
    pub fn begin(layout: Layout, command: Command) -> Keeper {
        let record = Record::read(&layout, &command.name);
        let mut keeper =
            Keeper { layout, command, record, pauses: Pauses::default(), running: None };
        // An earlier version of the supervisor noted none; settings were changed only while nothing ran.
        if keeper.record.settings.is_none() {
            keeper.record.settings = keeper.settings();
        }
        keeper.running = keeper.adopt();
        if keeper.running.is_none() && !keeper.is_held() {
            // Stopped by an operator: the count begins anew. Anything else was an end.
            match keeper.record.state {
                State::Stopped => keeper.record = Record::default(),
                State::Running(_) | State::Paused { .. } => keeper.record.restarts += 1,
            }
            keeper.running = keeper.start();
        }
        keeper
    }

    /// Keeps the program running until `stop`, then stops it. At each look, what runs from another file, or with other
    /// settings, than lie there now is replaced.
    pub async fn keep(mut self, stop: Stop, mut looks: watch::Receiver<()>) {
        loop {
            let uptime = match self.running.take() {
                Some(mut running) => {
                    tokio::select! {
                        () = running.ended() => {}
                        () = hangs(&self.layout, &self.command.name) => {
                            note(&format!("{} does not answer any more; killing it", self.command.name));
                            running.kill().await;
                        }
                        () = stop.wait() => return self.stop(running).await,
                        Ok(()) = looks.changed() => {
                            self.running = self.renew(running).await;
                            continue;
                        }
                    }
                    let uptime = running.uptime();
                    self.ended(running.reap());
                    uptime
                }
                None => Duration::ZERO,
            };
            let pause = self.pauses.after(uptime);
            self.set(State::Paused { pause_ms: pause.as_millis().try_into().unwrap_or(u64::MAX) });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.wait() => return self.set(State::Stopped),
            }
            while self.is_held() {
                tokio::select! {
                    () = tokio::time::sleep(HOLD_PERIOD) => {}
                    () = stop.wait() => return self.set(State::Stopped),
                }
            }
            self.record.restarts += 1;
            self.running = self.start();
        }
    }

    fn settings(&self) -> Option<String> {
        settings_fingerprint(&self.layout)
    }

    fn is_held(&self) -> bool {
        Hold::is_on(&self.layout, &self.command.name)
    }

    /// Runs the program from the file and with the settings that lie there now. etcd has no such settings, and is the
    /// distribution's, who replaces it in its own time.
    async fn renew(&mut self, mut old: Running) -> Option<Running> {
        let has_file = runs_from(&self.command.path, old.process.pid);
        let settings = self.settings();
        if self.command.name == ETCD.name || (has_file && self.record.settings == settings) {
            return Some(old);
        }
        let what = if has_file { "new settings" } else { "a new file" };
        note(&format!("{} has {what}", self.command.name));
        if self.command.name != TAKES_OVER {
            self.stop(old).await;
            return self.start();
        }
        let mut new = match self.spawn() {
            Ok(new) => new,
            Err(error) => {
                self.failed(&old, &format!("could not be started: {error}"));
                return Some(old);
            }
        };
        tokio::select! {
            () = old.ended() => {
                note(&format!("{} taken over (process {})", self.command.name, new.process.pid));
                self.record.settings = settings;
                self.set(State::Running(new.process.clone()));
                old.reap();
                Some(new)
            }
            () = new.ended() => {
                self.failed(&old, &new.reap());
                Some(old)
            }
            () = tokio::time::sleep(TAKE_OVER_DEADLINE) => {
                new.kill().await;
                new.reap();
                self.failed(&old, "did not take over in time");
                Some(old)
            }
        }
    }

    /// A new program did not take the place of the old one, which runs on.
    fn failed(&mut self, old: &Running, how: &str) {
        self.ended(format!("the new one, before it took over: {how}"));
        self.set(State::Running(old.process.clone()));
    }

    fn adopt(&mut self) -> Option<Running> {
        let process = find(&self.layout, &self.command)?;
        let running = Running::new(process, None).ok()?;
        note(&format!("{} adopted (process {})", self.command.name, running.process.pid));
        self.set(State::Running(running.process.clone()));
        Some(running)
    }

    fn start(&mut self) -> Option<Running> {
        // Before it reads them: what changes meanwhile is seen at the next look.
        self.record.settings = self.settings();
        match self.spawn() {
            Ok(running) => {
                note(&format!("{} started (process {})", self.command.name, running.process.pid));
                self.set(State::Running(running.process.clone()));
                Some(running)
            }
            Err(error) => {
                self.ended(format!("could not be started: {error}"));
                None
            }
        }
    }

    fn spawn(&self) -> io::Result<Running> {
        let log = log_files::open(&self.layout.log(&self.command.name))?;
        let child = process::Command::new(&self.command.path)
            .args(&self.command.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        // A child that has ended already is a zombie until we collect it, so its id is still its own.
        let process = Process::of(child.id()).unwrap_or_else(|| Process {
            pid: child.id(),
            start_ticks: 0,
            boot: String::new(),
        });
        Running::new(process, Some(child))
    }

    async fn stop(&mut self, mut running: Running) {
        let _ = running.watch.signal(Signal::TERM);
        if tokio::time::timeout(STOP_DEADLINE, running.ended()).await.is_err() {
            note(&format!("{} does not end; killing it", self.command.name));
            running.kill().await;
        }
        let how = running.reap();
        note(&format!("{} stopped: {how}", self.command.name));
        self.set(State::Stopped);
    }

    fn ended(&mut self, how: String) {
        note(&format!("{} ended: {how}", self.command.name));
        self.record.last_end = Some(how);
    }

    fn set(&mut self, state: State) {
        self.record.state = state;
        if let Err(error) = self.record.write(&self.layout, &self.command.name) {
            note(&format!("write the record of {}: {error}", self.command.name));
        }
    }
}

impl Running {
    fn new(process: Process, child: Option<Child>) -> io::Result<Running> {
        let watch = match &child {
            Some(child) => Watch::of_child(child)?,
            None => process.watch().ok_or_else(|| io::Error::other("the process has ended"))?,
        };
        let watch = Arc::new(watch);
        // A thread that only waits: the runtime itself cannot wait for a process that is no child.
        let ending = spawn_blocking({
            let watch = watch.clone();
            move || {
                watch.wait(None);
            }
        });
        let child = child.map(|child| (child, Instant::now()));
        Ok(Running { process, watch, ending, child })
    }

    async fn ended(&mut self) {
        // It fails only where the waiting thread panics, which ends the supervisor.
        let _ = (&mut self.ending).await;
    }

    async fn kill(&mut self) {
        let _ = self.watch.signal(Signal::KILL);
        let _ = tokio::time::timeout(KILL_DEADLINE, self.ended()).await;
    }

    fn uptime(&self) -> Duration {
        match &self.child {
            Some((_, started)) => started.elapsed(),
            None => self.process.uptime(),
        }
    }

    /// Collects a child that has ended and says how it did.
    fn reap(mut self) -> String {
        match self.child.as_mut().map(|(child, _)| child.wait()) {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => format!("unknown: {error}"),
            None => "ended while it was not a child of this supervisor".to_owned(),
        }
    }
}

/// Of the settings as they are written; none where they cannot be read.
fn settings_fingerprint(layout: &Layout) -> Option<String> {
    fs::read(layout.settings()).ok().map(|text| hex(&Sha256::digest(text)))
}

/// Whether a program runs with the settings as they are written.
pub fn has_settings_as_written(layout: &Layout, program: &str) -> bool {
    let record = Record::read(layout, program);
    record.living().is_some() && record.settings == settings_fingerprint(layout)
}

/// Whether a process runs from this very file, not from one that lay there before.
pub fn runs_from(file: &Path, pid: u32) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let runs = identity(Path::new(&format!("/proc/{pid}/exe")));
    runs.is_some() && runs == identity(file)
}

/// The process of a command that runs already: as recorded, or, where a supervisor was cut off before it could write,
/// as found by its whole command line, which names this cluster's settings file.
pub fn find(layout: &Layout, command: &Command) -> Option<Process> {
    let recorded = Record::read(layout, &command.name).living().cloned();
    recorded.or_else(|| {
        let path = command.path.to_string_lossy().into_owned();
        let words: Vec<String> =
            std::iter::once(path).chain(command.arguments.iter().cloned()).collect();
        Process::with_command(&words).into_iter().next()
    })
}

/// Stops a process that no supervisor keeps; false if it is still there.
pub fn stop_process(process: &Process) -> bool {
    let Some(watch) = process.watch() else { return true };
    let _ = watch.signal(Signal::TERM);
    if watch.wait(Some(STOP_DEADLINE)) {
        return true;
    }
    let _ = watch.signal(Signal::KILL);
    watch.wait(Some(KILL_DEADLINE))
}
