//! The keepers of all programs, as the table says at each look: of one that is new there, of none that is gone from it.

use anyhow::Context;
use service::Stop;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use super::super::{
    layout::{ETCD, Layout, PROGRAMS},
    record::Record,
};
use super::{
    Command,
    keeper::{Keeper, stop_process},
    note, read_table,
};

/// One for each program of the table.
pub struct Keepers {
    layout: Layout,
    looks: watch::Sender<()>,
    /// In the order of the table.
    kept: Vec<Kept>,
}

struct Kept {
    name: String,
    stop: Stop,
    keeping: JoinHandle<()>,
}

impl Keepers {
    /// None yet.
    pub fn new(layout: Layout) -> Keepers {
        Keepers { layout, looks: watch::Sender::new(()), kept: Vec::new() }
    }

    /// Follows the table, and has every keeper look whether its program runs as is written now.
    pub async fn look(&mut self) -> anyhow::Result<()> {
        let table = read_table(&self.layout).context("read the table of programs")?;
        self.end_what_nobody_keeps(&table).await?;
        let mut before = std::mem::take(&mut self.kept);
        for command in table {
            let known = before.iter().position(|kept| kept.name == command.name);
            let kept = match known {
                Some(place) => before.remove(place),
                None => {
                    let (name, stop) = (command.name.clone(), Stop::new());
                    let keeper = Keeper::begin(self.layout.clone(), command);
                    let keeping = tokio::spawn(keeper.keep(stop.clone(), self.looks.subscribe()));
                    Kept { name, stop, keeping }
                }
            };
            self.kept.push(kept);
        }
        note(&format!("supervising {} programs", self.kept.len()));
        self.looks.send_replace(());
        stop(before).await
    }

    /// Ends a program that an earlier supervisor kept and that the table does not name any more.
    async fn end_what_nobody_keeps(&self, table: &[Command]) -> anyhow::Result<()> {
        let is_kept = |name: &str| {
            table.iter().any(|it| it.name == name) || self.kept.iter().any(|it| it.name == name)
        };
        for program in [ETCD].iter().chain(&PROGRAMS).filter(|program| !is_kept(program.name)) {
            let record = Record::read(&self.layout, program.name);
            let Some(process) = record.living().cloned() else { continue };
            note(&format!("{} is of an earlier table; stopping it", program.name));
            spawn_blocking(move || stop_process(&process)).await.context("stop a program")?;
        }
        Ok(())
    }

    /// Stops all programs.
    pub async fn stop(self) -> anyhow::Result<()> {
        stop(self.kept).await
    }
}

/// The last first.
async fn stop(kept: Vec<Kept>) -> anyhow::Result<()> {
    for Kept { name, stop, keeping } in kept.into_iter().rev() {
        stop.set();
        keeping.await.with_context(|| format!("stop {name}"))?;
    }
    Ok(())
}
