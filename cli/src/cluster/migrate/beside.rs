//! etcd beside the programs of a machine alone: started empty before anything depends on it, and taken away again where the
//! move does not come about.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use service::durable::create_private_dir;

use super::{LOOK_PERIOD, MAX_ENDS, step};
use crate::cluster::{
    choices::Choices,
    etcd,
    health::{self, ProgramStatus},
    layout::{ETCD, Layout},
    provision::{self, Which},
    record::Record,
    supervisor::{self, STOP_DEADLINE},
};

/// An empty member that is alone elects itself within seconds.
const WELL_DEADLINE: Duration = Duration::from_secs(60);

/// Makes what it needs, and starts it. The inner error is a member that does not get well.
pub async fn start(layout: &Layout, next: &Choices) -> anyhow::Result<Result<(), ProgramStatus>> {
    end(layout).await?;
    step("making the certificates of a node of several");
    provision::certificates(layout, next, Which::Due)?;
    create_private_dir(&etcd::data(layout))?;
    step("starting etcd beside what runs");
    let programs = supervisor::programs_folder(layout)?;
    supervisor::write_table(layout, &provision::table(layout, next, &programs))?;
    supervisor::tell(layout)?;
    let begun = Instant::now();
    loop {
        let now = health::one(layout, next, ETCD).await;
        if now.is_well() {
            return Ok(Ok(()));
        }
        if now.restarts >= MAX_ENDS || begun.elapsed() > WELL_DEADLINE {
            return Ok(Err(now));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// Takes it away with all it has: nothing was written to it yet, and it may have been begun for another address.
pub async fn end(layout: &Layout) -> anyhow::Result<()> {
    let mut table = supervisor::read_table(layout).context("read the table of programs")?;
    table.retain(|command| command.name != ETCD.name);
    supervisor::write_table(layout, &table)?;
    supervisor::tell(layout)?;
    let begun = Instant::now();
    while Record::read(layout, ETCD.name).living().is_some() {
        if begun.elapsed() > 2 * STOP_DEADLINE {
            bail!("stop the etcd that an earlier try left: see `clusterctl logs supervisor`");
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    match fs::remove_dir_all(etcd::data(layout)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("remove what an earlier try left of etcd")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
