//! Keeps the platform's programs running: starts them in order, restarts what ends, adopts what still lives, stops them in reverse.
//!
//! ```text
//!   guardian ◄──each starts the other again──► supervisor ──► six programs, each a group of its own
//! ```
//! Two processes, because either may be killed. Nothing here is a parent that must live: programs write to their log
//! files themselves and are known by [`Process`], so a new supervisor takes over where the old one was cut off.

mod keeper;
mod keepers;
mod log_files;
mod pauses;
mod peer;
mod watchdog;

use std::{
    path::{Path, PathBuf},
    process::abort,
};

use anyhow::Context;
use rustix::{
    fs::Mode,
    process::{self, Signal},
};
use serde::{Deserialize, Serialize};
use service::{
    Stop,
    durable::{DurableError, PRIVATE, read_json, write_json},
};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use super::{
    certs,
    layout::{ETCD, Layout},
    record::{Lock, Record, State, holder},
};
use keepers::Keepers;

pub use keeper::{STOP_DEADLINE, find, has_settings_as_written, runs_from, stop_process};
pub use peer::{Role, start};

const VERSION: u32 = 1;

/// One command to keep running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program's name: of its record and its log.
    pub name: String,
    /// The file to run.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Writes down the commands to keep running, in the order of their start.
pub fn write_table(layout: &Layout, table: &[Command]) -> Result<(), DurableError> {
    write_json(&layout.table(), VERSION, &table, PRIVATE)
}

/// The commands to keep running; none before the first `up`.
pub fn read_table(layout: &Layout) -> Result<Vec<Command>, DurableError> {
    Ok(read_json(&layout.table(), VERSION)?.unwrap_or_default())
}

/// Where the programs that run were started from.
pub fn programs_folder(layout: &Layout) -> anyhow::Result<PathBuf> {
    let table = read_table(layout).context("read the table of programs")?;
    let ours = table.iter().find(|command| command.name != ETCD.name);
    let folder = ours.and_then(|command| command.path.parent()).map(Path::to_owned);
    folder.context("find the folder of the programs that run")
}

/// Has the supervisor look at the table, the files of the programs and their settings.
pub fn tell(layout: &Layout) -> anyhow::Result<()> {
    let watch = holder(layout, Role::Supervisor.name()).and_then(|supervisor| supervisor.watch());
    // One that its guardian is about to start looks by itself.
    watch.map_or(Ok(()), |watch| watch.signal(Signal::HUP)).context("tell the supervisor")
}

/// Runs as the supervisor or as its guardian, until asked to stop. Returns at once where another already does.
pub fn supervise(layout: &Layout, role: Role) -> anyhow::Result<()> {
    detach();
    let Some(_lock) = Lock::take(layout, role.name()).context("take the lock")? else {
        return Ok(());
    };
    match role {
        Role::Guardian => peer::keep_alive(layout, Role::Supervisor, &Stop::new()),
        Role::Supervisor => {
            // A supervisor in doubt ends; its guardian starts another, which adopts everything.
            std::panic::set_hook(Box::new(|info| {
                note(&format!("panic: {info}"));
                abort();
            }));
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("start the async runtime")?.block_on(run(layout))
        }
    }
}

async fn run(layout: &Layout) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let mut keepers = Keepers::new(layout.clone());
    keepers.look().await.context("begin with the table of programs")?;
    let rotation = tokio::spawn(log_files::rotate_forever(layout.clone()));
    let renewal = tokio::spawn(certs::keep_renewed(layout.clone(), note));
    let stop = Stop::new();
    let guarding = std::thread::spawn({
        let (layout, stop) = (layout.clone(), stop.clone());
        move || peer::keep_alive(&layout, Role::Guardian, &stop)
    });

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = hangup.recv() => {
                if let Err(error) = keepers.look().await {
                    note(&format!("failed to look at the table of programs: {error:#}"));
                }
            }
        }
    }
    note("stopping");
    // First the guardian, or it would start another supervisor.
    stop.set();
    tokio::task::spawn_blocking({
        let layout = layout.clone();
        move || peer::end(&layout, Role::Guardian)
    })
    .await
    .context("end the guardian")?;
    if guarding.is_finished() {
        note("the guardian has ended");
    }
    keepers.stop().await.context("stop a program")?;
    rotation.abort();
    renewal.abort();
    note("stopped");
    Ok(())
}

/// Leaves the terminal, the folder and the file mode mask of whoever ran the command.
fn detach() {
    // It fails for the leader of a process group, who has no terminal to lose here: callers put us in their group.
    let _ = process::setsid();
    let _ = process::chdir("/");
    process::umask(Mode::from_raw_mode(0o022));
}

/// A line in the supervisor's log.
fn note(message: &str) {
    eprintln!("{} {message}", jiff::Timestamp::now());
}

/// Marks a program as stopped, for whoever reads its record.
pub fn record_stopped(layout: &Layout, program: &str) -> Result<(), DurableError> {
    let record = Record { state: State::Stopped, ..Record::read(layout, program) };
    record.write(layout, program)
}
