//! What removed apps left on nodes that did not answer: remembered in the store until those nodes have let it go.

use std::collections::BTreeSet;

use model::name::{AppName, NodeName};
use model::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

use super::Images;
use crate::logs::Logs;
use crate::records::{CommitError, Document, Records, Write};

/// The document of one removed app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// Which app it was.
    pub app: AppName,
    /// Nodes that may still hold its images, its history or its lines.
    pub nodes: BTreeSet<NodeName>,
}

impl Document for Leftover {
    const PREFIX: &'static str = "leftovers/";

    fn key(&self) -> String {
        format!("{}{}", Self::PREFIX, self.app)
    }
}

/// Has all nodes let go of what an app left; those that did not answer are remembered.
pub async fn forget(
    app: &AppName,
    snapshot: &Snapshot,
    (records, logs, images): (&Records, &Logs, &Images),
) -> Result<(), CommitError> {
    let members = images.reach.members(snapshot);
    let lines = logs.forget(app, &members).await;
    let nodes: BTreeSet<_> = images.forget(app, &members).await.into_iter().chain(lines).collect();
    if nodes.is_empty() {
        return Ok(());
    }
    tracing::warn!(%app, ?nodes, "nodes still hold what a removed app left; they are asked again");
    records.commit(Write::new().put(&Leftover { app: app.clone(), nodes })).await?;
    Ok(())
}

/// Asks those again that are remembered. Nodes that left the cluster need not answer any more; a new app of the same
/// name keeps what is of its own name, and readers see nothing older than the app.
pub async fn settle(snapshot: &Snapshot, records: &Records, logs: &Logs, images: &Images) {
    let leftovers = match records.all::<Leftover>().await {
        Ok(leftovers) => leftovers,
        Err(error) => {
            tracing::warn!(%error, "what removed apps left could not be read");
            return;
        }
    };
    for leftover in leftovers {
        let Leftover { app, nodes } = &leftover.value;
        let mut members = images.reach.members(snapshot);
        members.retain(|member| nodes.contains(&member.name) && !snapshot.apps.contains_key(app));
        let lines = logs.forget(app, &members).await;
        let left: BTreeSet<_> =
            images.forget(app, &members).await.into_iter().chain(lines).collect();
        let write = match left.is_empty() {
            true => Write::new().delete(&leftover.value, leftover.revision),
            false if left == *nodes => continue,
            false => {
                Write::new().replace(&Leftover { app: app.clone(), nodes: left }, leftover.revision)
            }
        };
        // The next round looks again.
        if let Err(error) = records.commit(write).await {
            tracing::debug!(%app, %error, "a leftover was not settled");
        }
    }
}
