//! Guardian and supervisor: each waits for the other's end and starts it again.

use std::{
    io,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::process::Signal;
use service::Stop;

use super::super::{layout::Layout, process::Process, record::holder};
use super::{log_files, note, pauses::Pauses};

/// How long an end may take before it is forced.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// How often a wait for the other looks whether it is still wanted.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Which of the two a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Starts and stops the programs.
    Supervisor,
    /// Only looks after the supervisor.
    Guardian,
}

impl Role {
    /// The name of its lock and record.
    pub fn name(self) -> &'static str {
        match self {
            Role::Supervisor => "supervisor",
            Role::Guardian => "guardian",
        }
    }
}

/// Keeps a process of this role alive until `stop`: waits for the end of the one there is, else starts one.
pub fn keep_alive(layout: &Layout, role: Role, stop: &Stop) -> anyhow::Result<()> {
    let mut pauses = Pauses::default();
    loop {
        let begun = Instant::now();
        match holder(layout, role.name()) {
            Some(process) => wait_for(&process, stop),
            None if stop.is_set() => {}
            None => match start(layout, role) {
                Ok(mut child) => {
                    if let Some(process) = Process::of(child.id()) {
                        wait_for(&process, stop);
                    }
                    if !stop.is_set() {
                        let ended = child.wait()?;
                        note(&format!("the {} ended: {ended}", role.name()));
                    }
                }
                Err(error) => note(&format!("start the {}: {error}", role.name())),
            },
        }
        if stop.is_set() {
            return Ok(());
        }
        std::thread::sleep(pauses.after(begun.elapsed()));
    }
}

fn wait_for(process: &Process, stop: &Stop) {
    if let Some(watch) = process.watch() {
        while !stop.is_set() && !watch.wait(Some(LOOK_PERIOD)) {}
    }
}

/// Starts `clusterctl supervise` in a role; it takes itself out of this session.
pub fn start(layout: &Layout, role: Role) -> io::Result<Child> {
    let log = log_files::open(&layout.log("supervisor"))?;
    Command::new(own_file()?)
        .args(["supervise", "--role", role.name(), "--data"])
        .arg(&layout.data)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// Where this program lies, or the one that was put in its place since it was started.
fn own_file() -> io::Result<PathBuf> {
    let file = std::env::current_exe()?;
    let name = file.to_string_lossy();
    Ok(name.strip_suffix(" (deleted)").map(PathBuf::from).unwrap_or(file))
}

/// Ends the process of a role, if there is one.
pub fn end(layout: &Layout, role: Role) {
    let Some(watch) = holder(layout, role.name()).and_then(|process| process.watch()) else {
        return;
    };
    let asked = watch.signal(Signal::TERM);
    if asked.is_err() || !watch.wait(Some(END_DEADLINE)) {
        note(&format!("the {} does not end; killing it", role.name()));
        let _ = watch.signal(Signal::KILL);
        watch.wait(Some(END_DEADLINE));
    }
}
