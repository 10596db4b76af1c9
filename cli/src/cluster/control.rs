//! From outside the supervisor: start it, see what it keeps, make it stop.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{
    layout::Layout,
    process::Process,
    record::{Lock, Record, holder},
    supervisor::{self, Role, STOP_DEADLINE},
};

/// Longer than six programs that all must be killed.
const DOWN_DEADLINE: Duration = Duration::from_secs(6 * 45);
/// It takes milliseconds; a machine may be busy.
const START_DEADLINE: Duration = Duration::from_secs(30);
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Why the programs could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The supervisor does not end.
    #[error("stop the supervisor within {DOWN_DEADLINE:?}")]
    Supervisor,
    /// A program does not end even when killed.
    #[error("stop process {pid} of `{program}`: it does not end; see `cat /proc/{pid}/status`")]
    Program {
        /// The program.
        program: String,
        /// Its process.
        pid: u32,
    },
}

/// Starts the supervisor and its guardian unless they run, and waits until the supervisor is at work: programs that live on
/// from before are adopted, not started, so that they are well says nothing of it. Returns whether anything was started.
/// Blocks.
pub fn ensure_supervised(layout: &Layout) -> io::Result<bool> {
    // Each starts the other, so one of them is enough.
    if is_supervised(layout) {
        return Ok(false);
    }
    supervisor::start(layout, Role::Guardian)?;
    let begun = Instant::now();
    while holder(layout, Role::Supervisor.name()).is_none() {
        if begun.elapsed() > START_DEADLINE {
            let why = "it is not at work yet; see `clusterctl logs supervisor`";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        thread::sleep(LOOK_PERIOD);
    }
    Ok(true)
}

/// Whether a supervisor, or a guardian that is about to start one, runs.
pub fn is_supervised(layout: &Layout) -> bool {
    [Role::Supervisor, Role::Guardian].iter().any(|role| holder(layout, role.name()).is_some())
}

/// The running programs of the table, with their processes.
pub fn living(layout: &Layout) -> Vec<(String, Process)> {
    let table = supervisor::read_table(layout).unwrap_or_default();
    let living = table.into_iter().filter_map(|command| {
        let process = supervisor::find(layout, &command)?;
        Some((command.name, process))
    });
    living.collect()
}

/// The names of the programs that run according to their records, which a supervisor keeps true.
fn recorded(layout: &Layout) -> Vec<String> {
    let table = supervisor::read_table(layout).unwrap_or_default();
    let names = table.into_iter().map(|command| command.name);
    names.filter(|name| Record::read(layout, name).living().is_some()).collect()
}

/// Stops everything, in reverse order, `said` hearing of each step. Works in every state: supervised, half dead,
/// or with programs that nobody keeps. Blocks.
pub fn stop_all(layout: &Layout, mut said: impl FnMut(&str)) -> Result<(), StopError> {
    stop_supervisor(layout, &mut said)?;
    // What no supervisor stopped: it was killed before it could.
    for (program, process) in living(layout).into_iter().rev() {
        said(&format!("stopping {program} (process {})", process.pid));
        if !supervisor::stop_process(&process) {
            return Err(StopError::Program { program, pid: process.pid });
        }
        // The process is gone; that its record says otherwise would only be seen through.
        let _ = supervisor::record_stopped(layout, &program);
    }
    Ok(())
}

/// Ends supervisor and guardian. While one lives it may start the other, so this looks until neither is there.
fn stop_supervisor(layout: &Layout, said: &mut impl FnMut(&str)) -> Result<(), StopError> {
    let deadline = Instant::now() + DOWN_DEADLINE;
    let mut asked: Vec<Process> = Vec::new();
    let mut shown = recorded(layout).len();
    loop {
        // The supervisor ends its guardian itself, so the guardian is asked only where there is no supervisor.
        let target = holder(layout, Role::Supervisor.name())
            .or_else(|| holder(layout, Role::Guardian.name()));
        match target {
            Some(process) if !asked.contains(&process) => {
                if let Some(watch) = process.watch() {
                    let _ = watch.signal(rustix::process::Signal::TERM);
                }
                asked.push(process);
            }
            Some(_) => {}
            None if !is_locked(layout) => return Ok(()),
            None => {}
        }
        let left = recorded(layout);
        if left.len() < shown && !left.is_empty() {
            said(&format!("still running: {}", left.join(", ")));
        }
        shown = left.len();
        if Instant::now() > deadline {
            return Err(StopError::Supervisor);
        }
        thread::sleep(LOOK_PERIOD);
    }
}

fn is_locked(layout: &Layout) -> bool {
    [Role::Supervisor, Role::Guardian].iter().any(|role| Lock::is_held(layout, role.name()))
}

const _: () = assert!(DOWN_DEADLINE.as_secs() > 6 * STOP_DEADLINE.as_secs());
