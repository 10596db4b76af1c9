//! How a memory begins that is not a new one: from a backup, or moved from the file of a machine alone to etcd.
//!
//! ```text
//!   controller/seed        (restore)       ─┐
//!   controller/store.redb  (store:migrate) ─┴─► the empty store ──► its next incarnation, in one write with the end of it
//! ```
//! It is done before anything is served, may be cut off at any moment, and goes on at the next start. Only when the new
//! store has everything, the old file gets another name: until then it is in force, from then on it is not.

mod source;
mod what;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use model::time::Time;
use serde::{Deserialize, Serialize};
use service::Clock;
use store::{EmbeddedStore, Txn};

use crate::config::{Files, StoreConfig};
use crate::incarnation::{self, Begun, Life, next, written};
use crate::records::{CommitError, Document, Records, Write};
use source::Source;

pub use what::{find, images_in_force};

/// How many entries are written at once; etcd takes 128.
const GROUP_ENTRIES: usize = 100;
/// How many bytes are written at once, but for an entry that is larger.
const GROUP_BYTES: usize = 512 << 10;

/// That a store is being filled, and from where. Gone when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// What it is filled from.
    pub source: String,
}

impl Document for Founding {
    const PREFIX: &'static str = "cluster/founding";

    fn key(&self) -> String {
        Self::PREFIX.to_owned()
    }
}

/// The backup a controller shall begin with.
fn seed(files: &Files) -> PathBuf {
    files.folder.join("seed")
}

/// What the file of a machine alone is called once etcd has everything.
fn moved(file: &Path) -> PathBuf {
    file.with_extension("redb.moved")
}

/// Refuses to begin anew where the memory was moved away.
pub fn refuse_moved(config: &StoreConfig) -> anyhow::Result<()> {
    if let StoreConfig::Embedded(path) = config
        && !path.exists()
        && moved(path).exists()
    {
        bail!(
            "use `{}`: the memory was moved to etcd, and the settings name the file. `clusterctl up` writes them anew",
            path.display()
        );
    }
    Ok(())
}

/// Fills the store, where something waits to be filled into it.
pub async fn found(records: &Records, files: &Files, config: &StoreConfig) -> anyhow::Result<()> {
    let seed = seed(files);
    if seed.exists() {
        let source = source::of_seed(&seed).await.context("read the backup to begin with")?;
        fill(records, files, source).await.context("begin with the backup")?;
        return std::fs::remove_file(&seed).with_context(|| format!("remove `{}`", seed.display()));
    }
    let file = files.store();
    if matches!(config, StoreConfig::Etcd(_)) && file.exists() {
        let path = file.clone();
        let old = tokio::task::spawn_blocking(move || EmbeddedStore::open(path)).await?;
        let old = old.context("open the memory to be moved")?;
        let source = source::of_file(&old).await.context("read the memory to be moved")?;
        fill(records, files, source).await.context("move the memory to etcd")?;
        // From here on etcd is in force, and no earlier. Nobody else opens the file before it is out of force.
        std::fs::rename(&file, moved(&file))
            .with_context(|| format!("rename `{}`", file.display()))?;
        drop(old);
        tracing::info!("the memory is in etcd now");
    }
    Ok(())
}

async fn fill(records: &Records, files: &Files, source: Source) -> anyhow::Result<()> {
    let life = records.get_now::<Life>(Life::PREFIX).await?;
    let begun = Begun {
        operation: source.name.clone(),
        story: source.story.clone(),
        at: Time(Clock::system().now_ms()),
    };
    if let Some(life) = &life {
        if life.value.begun.as_ref().is_some_and(|before| before.operation == begun.operation) {
            return Ok(());
        }
        bail!("write to the store: it holds incarnation `{}` already", life.value.incarnation());
    }
    begin(records, &source.name).await?;
    tracing::info!(entries = source.entries.len(), story = source.story, "filling the store");
    for group in groups(&source.entries) {
        let txn = group.iter().fold(Txn::new(), |txn, (key, value)| txn.put(key, value.clone()));
        records.store().transact(txn).await?;
    }
    verify(records, &source).await?;
    let kept = incarnation::kept(&files.folder)?;
    let above = if kept.counter > source.above.counter { kept } else { source.above };
    let life = next(None, &above, begun).context("begin another incarnation")?;
    records.commit(written(Write::new(), &life, None).remove(Founding::PREFIX)).await?;
    tracing::info!(incarnation = %life.incarnation(), "the store is filled");
    Ok(())
}

/// Marks the store as being filled from this source; it must be empty, or marked so already.
async fn begin(records: &Records, source: &str) -> anyhow::Result<()> {
    if let Some(founding) = records.get_now::<Founding>(Founding::PREFIX).await? {
        if founding.value.source == source {
            return Ok(());
        }
        bail!("write to the store: it is half filled from something else");
    }
    if !records.store().list("").await?.entries.is_empty() {
        bail!("write to the store: it is not empty");
    }
    match records.commit(Write::new().create(&Founding { source: source.to_owned() })).await {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict) => bail!("write to the store: another controller does"),
        Err(error) => Err(error.into()),
    }
}

/// Pieces that each fit one transaction.
fn groups(entries: &[(String, bytes::Bytes)]) -> Vec<&[(String, bytes::Bytes)]> {
    let mut groups = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (place, (key, value)) in entries.iter().enumerate() {
        let size = key.len() + value.len();
        let is_full = place - first == GROUP_ENTRIES || bytes + size > GROUP_BYTES;
        if is_full && place > first {
            groups.push(&entries[first..place]);
            (first, bytes) = (place, 0);
        }
        bytes += size;
    }
    if first < entries.len() {
        groups.push(&entries[first..]);
    }
    groups
}

/// Whether the store holds all of it, and nothing else.
async fn verify(records: &Records, source: &Source) -> anyhow::Result<()> {
    let stored = records.store().list("").await?.entries;
    let mut stored: Vec<_> = stored
        .into_iter()
        .filter(|entry| entry.key != Founding::PREFIX)
        .map(|entry| (entry.key, entry.value))
        .collect();
    let mut wanted = source.entries.clone();
    stored.sort();
    wanted.sort();
    if stored != wanted {
        bail!("read back what was written: the store holds something else");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
