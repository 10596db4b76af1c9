//! Who plans: the controller that wrote the leader's epoch last. Every planner's write compares it, so that one that
//! lost the lead without knowing decides in vain.
//!
//! The leader beats: it puts a key anew twice a second, comparing its epoch. A beat that succeeded proves that it led when
//! the beat was sent, and only that counts; see `election` for who takes the lead when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::records::{CommitError, Document, ReadError, Records, Write};

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Whose controller.
    pub node: String,
    /// Random, new with each taking.
    pub id: String,
}

impl Document for Epoch {
    const PREFIX: &'static str = "leader";

    fn key(&self) -> String {
        Self::PREFIX.to_owned()
    }
}

/// The leader's sign of life: put anew for as long as it leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// What the leader's clock showed: the cluster's time.
    pub now_ms: u64,
}

impl Document for Beat {
    const PREFIX: &'static str = "beat";

    fn key(&self) -> String {
        Self::PREFIX.to_owned()
    }
}

/// What the others see of the leader: it is the same for as long as nobody beats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs {
    epoch: Option<u64>,
    beat: Option<u64>,
    /// What the leader's clock showed when it beat.
    pub now_ms: Option<u64>,
}

impl Signs {
    /// Whether somebody leads, alive or not.
    pub fn has_leader(self) -> bool {
        self.epoch.is_some()
    }
}

/// This controller's place in the lead. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Leader {
    records: Records,
    node: String,
    /// The revision of our epoch; 0 before we ever led.
    revision: Arc<AtomicU64>,
    is_leading: watch::Sender<bool>,
}

/// Why the epoch could not be taken or kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// The old one could not be read.
    #[error("take the lead")]
    Read(#[from] ReadError),
    /// The new one could not be written.
    #[error("take the lead")]
    Commit(#[from] CommitError),
}

impl Leader {
    /// One that does not lead yet.
    pub fn new(records: Records, node: &str) -> Leader {
        let is_leading = watch::Sender::new(false);
        Leader { records, node: node.to_owned(), revision: Arc::default(), is_leading }
    }

    /// Whether it leads, as far as it knows; wakes when that changes.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.is_leading.subscribe()
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leading(&self) -> bool {
        *self.is_leading.borrow()
    }

    /// What there is to see of the leader.
    pub async fn signs(&self) -> Result<Signs, ReadError> {
        let epoch = self.records.get_now::<Epoch>(Epoch::PREFIX).await?;
        let beat = self.records.get_now::<Beat>(Beat::PREFIX).await?;
        Ok(Signs {
            epoch: epoch.map(|it| it.revision),
            now_ms: beat.as_ref().map(|it| it.value.now_ms),
            beat: beat.map(|it| it.revision),
        })
    }

    /// Takes the lead if nothing has changed since `seen`.
    pub async fn take(&self, seen: Signs) -> Result<(), LeaderError> {
        self.write_epoch(seen).await?;
        self.is_leading.send_if_modified(|leads| !std::mem::replace(leads, true));
        Ok(())
    }

    async fn write_epoch(&self, seen: Signs) -> Result<(), LeaderError> {
        let mut random = [0; 8];
        rand::rng().fill_bytes(&mut random);
        let id = format!("{:016x}", u64::from_le_bytes(random));
        let epoch = Epoch { node: self.node.clone(), id };
        let mut write = match seen.epoch {
            Some(revision) => Write::new().replace(&epoch, revision),
            None => Write::new().create(&epoch),
        };
        if let Some(revision) = seen.beat {
            write = write.require_key(Beat::PREFIX, revision);
        }
        let revision = self.records.commit(write).await?.0;
        self.revision.store(revision, Ordering::SeqCst);
        Ok(())
    }

    /// Shows that it leads. A conflict: it does not any more.
    pub async fn beat(&self, now_ms: u64) -> Result<(), CommitError> {
        self.records.commit(self.guard(Write::new()).put(&Beat { now_ms })).await?;
        Ok(())
    }

    /// Writes its own epoch anew, so that an earlier write of ours that may still be under way is refused. Gives the
    /// revision from which on the store shows what became of it. A conflict: another leads. One that stepped down
    /// meanwhile does not lead again by this: nobody would beat for it.
    pub async fn renew(&self) -> Result<u64, LeaderError> {
        let own = Signs { epoch: Some(self.revision()), ..Signs::default() };
        match self.write_epoch(own).await {
            Ok(()) => Ok(self.revision()),
            Err(error) => {
                self.step_down();
                Err(error)
            }
        }
    }

    /// Leads no more, as far as it knows.
    pub fn step_down(&self) {
        self.is_leading.send_if_modified(|leads| std::mem::replace(leads, false));
    }

    /// Gives the lead up, so that another can take it at once.
    pub async fn resign(&self) -> Result<(), CommitError> {
        let own = Epoch { node: self.node.clone(), id: String::new() };
        let write = Write::new().delete(&own, self.revision());
        self.step_down();
        self.records.commit(write).await?;
        Ok(())
    }

    /// Where our epoch was written.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    /// Makes a write depend on our still leading.
    pub fn guard(&self, write: Write) -> Write {
        write.require_key(Epoch::PREFIX, self.revision())
    }
}
