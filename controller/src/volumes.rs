//! Removes the data of destroyed volumes: each node's agent is told until it has done it.
//!
//! Only what is named goes, and not before the last unit that mounted it is gone; a volume that the store does not know is left alone.

use std::sync::Arc;
use std::time::Duration;

use model::node::Member;
use model::snapshot::{Snapshot, Versioned};
use model::volume::Doomed;
use proto::agent::RemoveVolumeRequest;
use service::Tasks;
use tokio::sync::Mutex;

use crate::reach::Reach;
use crate::records::{Records, Write};

/// How long an agent may take to delete a volume's files.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The way to the agents, and whether a round is under way. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    reach: Reach,
    records: Records,
    turn: Arc<Mutex<()>>,
}

impl Volumes {
    /// Of all nodes.
    pub fn new(reach: Reach, records: Records) -> Volumes {
        Volumes { reach, records, turn: Arc::default() }
    }

    /// Has the data of destroyed volumes removed. What is not done now is tried again by a later pass.
    pub fn follow(&self, snapshot: &Arc<Snapshot>, tasks: &Tasks) {
        if snapshot.doomed.is_empty() {
            return;
        }
        let Ok(turn) = self.turn.clone().try_lock_owned() else { return };
        let (volumes, snapshot, stop) = (self.clone(), snapshot.clone(), tasks.stop().clone());
        tasks.spawn("removal of volumes", async move {
            tokio::select! {
                () = stop.wait() => {}
                () = volumes.remove_all(&snapshot) => {}
            }
            drop(turn);
        });
    }

    async fn remove_all(&self, snapshot: &Snapshot) {
        let members = self.reach.members(snapshot);
        for doomed in snapshot.doomed.values().filter(|doomed| is_unused(&doomed.value, snapshot)) {
            let member = members.iter().find(|member| member.name == doomed.value.node);
            match member {
                // With the machine, the data has left the cluster.
                None => self.settle(doomed).await,
                Some(member) if self.remove(member, &doomed.value).await => {
                    self.settle(doomed).await;
                }
                Some(_) => {}
            }
        }
    }

    /// Says whether the agent did it.
    async fn remove(&self, member: &Member, doomed: &Doomed) -> bool {
        let (node, volume) = (&member.name, &doomed.id);
        let mut client = match self.reach.agent(member) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%node, %error, "an agent's address cannot be used");
                return false;
            }
        };
        let request = RemoveVolumeRequest { volume: volume.to_string() };
        match tokio::time::timeout(ANSWER_LIMIT, client.remove_volume(request)).await {
            Ok(Ok(_)) => {
                tracing::info!(%node, %volume, app = %doomed.app, "a volume's data is gone")
            }
            Ok(Err(status)) => {
                tracing::warn!(%node, %volume, %status, "a destroyed volume's data is still there");
                return false;
            }
            Err(_) => {
                tracing::warn!(%node, %volume, "a destroyed volume's data is still there: no answer");
                return false;
            }
        }
        true
    }

    async fn settle(&self, doomed: &Versioned<Doomed>) {
        let write = Write::new().delete(&doomed.value, doomed.revision);
        if let Err(error) = self.records.commit(write).await {
            tracing::debug!(volume = %doomed.value.id, %error, "a destroyed volume was not settled");
        }
    }
}

/// Whether no unit is left that may still write to it.
fn is_unused(doomed: &Doomed, snapshot: &Snapshot) -> bool {
    let mut units = snapshot.units.values();
    !units.any(|unit| unit.value.mounts.values().any(|volume| *volume == doomed.id))
}
