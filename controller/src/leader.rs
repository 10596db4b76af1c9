//! Who plans: the controller that wrote the leader's epoch last. Every planner's write compares it.
//!
//! A controller that starts takes the epoch. One that sees another's, or whose write was refused for it, plans no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::records::{CommitError, Document, ReadError, Records, Write};

/// How often a lost race for the epoch is tried again.
const ATTEMPTS: u32 = 5;

/// Who leads, since when nobody else does.
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

/// The proof of leading that guards the planners' writes. Cheap to clone.
#[derive(Clone)]
pub struct Leader {
    records: Records,
    node: String,
    revision: Arc<AtomicU64>,
}

/// Why the epoch could not be taken.
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
    /// Takes the lead, whoever had it.
    pub async fn take(records: Records, node: &str) -> Result<Leader, LeaderError> {
        let leader = Leader { records, node: node.to_owned(), revision: Arc::default() };
        leader.renew().await?;
        Ok(leader)
    }

    /// Takes the lead anew, so that an earlier write of ours that may still be under way is refused. Gives the revision
    /// from which on the store shows what became of it.
    pub async fn renew(&self) -> Result<u64, LeaderError> {
        let mut attempt = 1;
        loop {
            match self.try_renew().await {
                Err(LeaderError::Commit(CommitError::Conflict)) if attempt < ATTEMPTS => {
                    attempt += 1
                }
                renewed => return renewed,
            }
        }
    }

    async fn try_renew(&self) -> Result<u64, LeaderError> {
        let mut random = [0; 8];
        rand::rng().fill_bytes(&mut random);
        let id = format!("{:016x}", u64::from_le_bytes(random));
        let epoch = Epoch { node: self.node.clone(), id };
        let write = match self.records.get::<Epoch>(Epoch::PREFIX).await? {
            Some(last) => Write::new().replace(&epoch, last.revision),
            None => Write::new().create(&epoch),
        };
        let revision = self.records.commit(write).await?.0;
        self.revision.store(revision, Ordering::SeqCst);
        Ok(revision)
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
