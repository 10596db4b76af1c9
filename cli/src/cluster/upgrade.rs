//! `clusterctl upgrade`: puts newer programs in the place of those that run on this node, one after another, and goes back
//! when one does not become well.
//!
//! A file is renamed into place, the supervisor is told to look, and starts anew what runs from another file than lies
//! there. The router does not stop: the new one takes over its sockets. What lay there before is kept in `previous/`.

mod check;
mod files;
mod version;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::{
    choices::Choices,
    health::{self, ProgramStatus},
    layout::{ETCD, Layout, Program},
    logs,
    record::{Lock, holder},
    supervisor::{self, Role},
    up::{self, data_flag},
};
use crate::output::{self, Progress};
use check::Checked;
use files::Files;

/// How long a program may take until it runs from its new file and is well. A router first lets the old one's
/// connections end.
const WELL_DEADLINE: Duration = Duration::from_secs(90);
/// A new program that ended this often will not become well by waiting.
const MAX_ENDS: u32 = 2;
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// How long supervisor and guardian may take to start each other again.
const KEEPERS_DEADLINE: Duration = Duration::from_secs(20);
/// Lines of a failed program's log that are shown.
const SHOWN_LINES: usize = 10;

/// What was asked for.
pub struct Upgrade {
    /// The cluster.
    pub layout: Layout,
    /// The folder of the newer programs.
    pub from: Option<PathBuf>,
    /// Whether only to look.
    pub check: bool,
}

/// Looks, then upgrades this node.
pub async fn upgrade(upgrade: Upgrade) -> anyhow::Result<ExitCode> {
    let layout = &upgrade.layout;
    let checked = check::check(layout, upgrade.from.as_deref()).await?;
    for note in &checked.notes {
        output::line(note);
    }
    if !checked.problems.is_empty() {
        return Ok(up::refuse(&checked.problems));
    }
    let Checked { choices, files: Some(files), .. } = checked else {
        return Ok(ExitCode::SUCCESS);
    };
    if upgrade.check {
        output::line("This node can be upgraded.");
        return Ok(ExitCode::SUCCESS);
    }
    let Some(_lock) = Lock::take(layout, "up").context("take the lock of `up`")? else {
        bail!("upgrade while `clusterctl up` or another upgrade is at work here");
    };
    let node = Node { layout, choices: &choices, files: &files };
    node.upgrade().await
}

/// The node while it is upgraded.
struct Node<'a> {
    layout: &'a Layout,
    choices: &'a Choices,
    files: &'a Files,
}

impl Node<'_> {
    async fn upgrade(&self) -> anyhow::Result<ExitCode> {
        self.files.keep_previous()?;
        for program in self.programs() {
            let begun = Instant::now();
            if let Err(failure) = self.replace(program).await? {
                self.tell(program, &failure);
                self.go_back(program).await?;
                return Ok(ExitCode::FAILURE);
            }
            let took = begun.elapsed().as_secs_f64();
            output::line(format_args!("{}: well ({took:.1} s)", program.name));
        }
        self.all_well().await?;
        self.files.install_others()?;
        self.renew_keepers().await?;
        self.files.end()?;
        output::line(format_args!("{} is upgraded.", self.choices.node));
        if self.choices.several.is_some() {
            let data = data_flag(self.layout);
            output::line(format_args!(
                "`clusterctl upgrade --check{data}` says which node is next."
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// All but etcd, which is the distribution's.
    fn programs(&self) -> impl DoubleEndedIterator<Item = Program> {
        self.choices.programs().into_iter().filter(|program| *program != ETCD)
    }

    /// Puts the new file of a program in place and waits until it runs from it and is well; the inner error says why not.
    async fn replace(&self, program: Program) -> anyhow::Result<Result<(), String>> {
        let before = self.status(program).await;
        self.files.install(&program.binary())?;
        supervisor::tell(self.layout)?;
        Ok(self.well(program, &before).await)
    }

    async fn well(&self, program: Program, before: &ProgramStatus) -> Result<(), String> {
        let mut progress = Progress::new();
        let deadline = Instant::now() + WELL_DEADLINE;
        loop {
            let now = self.status(program).await;
            let runs_new =
                now.pid.is_some_and(|pid| self.files.is_installed(&program.binary(), pid));
            if runs_new && now.is_well() {
                return Ok(());
            }
            let ended_often = now.restarts.saturating_sub(before.restarts) >= MAX_ENDS;
            let was_refused = now.pid == before.pid && now.last_end != before.last_end;
            if ended_often || was_refused {
                return Err(now.last_end.unwrap_or_else(|| "it ended".to_owned()));
            }
            if Instant::now() > deadline {
                return Err(format!("{} after {WELL_DEADLINE:?}", now.health.words()));
            }
            progress.say(&format!("waiting for the new {}", program.name));
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// Those that were replaced first have lost sight of those that were replaced last.
    async fn all_well(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + WELL_DEADLINE;
        loop {
            let all = health::all(self.layout, self.choices).await;
            let Some(sick) = all.iter().find(|status| !status.is_well()) else { return Ok(()) };
            if Instant::now() > deadline {
                bail!("see all programs well again: {}: {}", sick.name, sick.health.words());
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    async fn status(&self, program: Program) -> ProgramStatus {
        health::one(self.layout, self.choices, program).await
    }

    fn tell(&self, program: Program, failure: &str) {
        let name = program.name;
        eprintln!("clusterctl: the new {name} does not become well: {failure}. Its last lines:");
        for line in logs::last_lines(self.layout, name, SHOWN_LINES) {
            eprintln!("  {line}");
        }
    }

    /// Puts the old files back: that of the one that failed, then the others, the last first. Until then each look would
    /// try the failed one again, and a router might start from the file that is just put back and take over.
    async fn go_back(&self, failed: Program) -> anyhow::Result<()> {
        let others = self.programs().rev().filter(|program| *program != failed);
        for program in std::iter::once(failed).chain(others) {
            let before = self.status(program).await;
            self.files.put_back(&program.binary())?;
            supervisor::tell(self.layout)?;
            // It may have been ended by the new file already; ends before this moment say nothing of the old one.
            if let Err(failure) = self.well(program, &before).await {
                bail!(
                    "go back to the old {}: {failure}. See `clusterctl doctor{}`",
                    program.name,
                    data_flag(self.layout)
                );
            }
        }
        self.all_well().await?;
        self.files.end()?;
        eprintln!("The old programs are back and well; nothing of the new ones runs.");
        Ok(())
    }

    /// Ends supervisor and guardian as a crash would: the other starts each from the new file, and programs run on.
    async fn renew_keepers(&self) -> anyhow::Result<()> {
        for role in [Role::Guardian, Role::Supervisor] {
            let old = holder(self.layout, role.name());
            if let Some(watch) = old.as_ref().and_then(|old| old.watch()) {
                watch
                    .signal(Signal::KILL)
                    .with_context(|| format!("end the old {}", role.name()))?;
            }
            let deadline = Instant::now() + KEEPERS_DEADLINE;
            while holder(self.layout, role.name()).is_none_or(|now| Some(now) == old) {
                if Instant::now() > deadline {
                    bail!("start the new {}: see `clusterctl logs supervisor`", role.name());
                }
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        }
        Ok(())
    }
}
