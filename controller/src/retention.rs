//! Tells every node's registry which images and histories are still needed, now and then and until it was heard.

pub mod leftovers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use model::app::App;
use model::name::{AppName, NodeName, ReleaseNumber};
use model::node::Member;
use model::snapshot::Snapshot;
use proto::registry::RetainRequest;
use service::{Clock, Tasks};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::history::{self, History};
use crate::logs::Logs;
use crate::plan::retention::retained;
use crate::reach::Reach;
use crate::records::Records;

/// How often registries are told at most.
const PERIOD: Duration = Duration::from_secs(60);
/// How long one may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The way to the registries. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    reach: Reach,
}

impl Images {
    /// Of all nodes.
    pub fn new(reach: Reach) -> Images {
        Images { reach }
    }

    /// Deletes all images of an app and its history on these nodes; gives those that did not do it.
    pub async fn forget(&self, app: &AppName, members: &[Member]) -> Vec<NodeName> {
        let asked = members.iter().map(|member| async move {
            for repository in [app.to_string(), history::repository(app)] {
                let request = RetainRequest { repository, keep: Vec::new(), whole: true };
                if !self.retain(member, request).await {
                    return Some(member.name.clone());
                }
            }
            None
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Says whether the registry did it.
    async fn retain(&self, member: &Member, request: RetainRequest) -> bool {
        let (node, repository) = (&member.name, request.repository.clone());
        let mut client = match self.reach.registry(member) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%node, %error, "a registry's address cannot be used");
                return false;
            }
        };
        match tokio::time::timeout(ANSWER_LIMIT, client.retain(request)).await {
            Ok(Ok(answer)) => {
                let bytes = answer.into_inner().bytes_freed;
                tracing::debug!(%node, repository, bytes, "told a registry what is kept");
                return true;
            }
            Ok(Err(status)) => {
                tracing::warn!(%node, repository, %status, "a registry was not told what is kept");
            }
            Err(_) => tracing::warn!(%node, repository, "a registry did not answer"),
        }
        false
    }
}

/// What a registry keeps of each repository: digests.
type Kept = BTreeMap<String, BTreeSet<String>>;

/// What each node's registry was told, and heard. A node that comes anew, or moves, is told everything.
type Told = BTreeMap<(NodeName, String), Kept>;

/// Remembers what the registries were told.
pub struct Retention {
    images: Images,
    logs: Logs,
    records: Records,
    clock: Clock,
    tasks: Tasks,
    /// Held by the round that is under way, so that there is one at a time.
    told: Arc<Mutex<Told>>,
    last: Duration,
}

impl Retention {
    /// Nothing was told yet.
    pub fn new(
        images: Images,
        logs: Logs,
        records: Records,
        clock: Clock,
        tasks: Tasks,
    ) -> Retention {
        let last = clock.monotonic();
        Retention { images, logs, records, clock, tasks, told: Arc::default(), last }
    }

    /// Tells the registries about apps whose releases or history changed, if it is time again. What one was not told is
    /// told again the next time.
    pub fn follow(&mut self, snapshot: &Arc<Snapshot>) {
        if self.clock.since(self.last) < PERIOD {
            return;
        }
        let Ok(told) = self.told.clone().try_lock_owned() else { return };
        self.last = self.clock.monotonic();
        let round = Round {
            images: self.images.clone(),
            logs: self.logs.clone(),
            records: self.records.clone(),
            snapshot: snapshot.clone(),
        };
        let stop = self.tasks.stop().clone();
        self.tasks.spawn("image retention", async move {
            tokio::select! {
                () = stop.wait() => {}
                () = round.run(told) => {}
            }
        });
    }
}

/// One round through all registries.
struct Round {
    images: Images,
    logs: Logs,
    records: Records,
    snapshot: Arc<Snapshot>,
}

impl Round {
    async fn run(self, mut told: OwnedMutexGuard<Told>) {
        let mut wanted = images(&self.snapshot);
        match self.records.all::<History>().await {
            Ok(histories) => wanted.extend(histories.into_iter().filter_map(|history| {
                let app = self.snapshot.apps.get(&history.value.app)?;
                let is_its = app.value.created == history.value.app_created;
                let kept = BTreeSet::from([history.value.manifest]);
                is_its.then(|| (history::repository(&app.value.name), kept))
            })),
            Err(error) => tracing::warn!(%error, "the histories could not be read"),
        }
        let members = self.images.reach.members(&self.snapshot);
        let key = |member: &Member| (member.name.clone(), member.addresses.registry.clone());
        told.retain(|known, _| members.iter().any(|member| key(member) == *known));
        let (images, wanted) = (&self.images, &wanted);
        let heard = join_all(members.iter().map(|member| {
            let known = told.get(&key(member)).cloned().unwrap_or_default();
            async move { (key(member), tell(images, member, wanted, known).await) }
        }));
        let heard = heard.await;
        told.extend(heard);
        leftovers::settle(&self.snapshot, &self.records, &self.logs, images).await;
    }
}

/// Tells one registry what it was not told; gives what it has heard.
async fn tell(images: &Images, member: &Member, wanted: &Kept, mut known: Kept) -> Kept {
    known.retain(|repository, _| wanted.contains_key(repository));
    for (repository, kept) in wanted {
        if known.get(repository) == Some(kept) {
            continue;
        }
        let (name, keep) = (repository.clone(), kept.iter().cloned().collect());
        let request = RetainRequest { repository: name.clone(), keep, whole: false };
        if !images.retain(member, request).await {
            break;
        }
        known.insert(name, kept.clone());
    }
    known
}

/// The images of each app's releases that keep theirs.
fn images(snapshot: &Snapshot) -> Kept {
    let apps = snapshot.apps.values().map(|app| &app.value);
    let living = apps.filter(|app| app.destroyed.is_none());
    let kept = living.map(|app| {
        let releases = retained(&numbers(app, snapshot), app);
        (app.name.to_string(), digests(app, &releases, snapshot))
    });
    kept.filter(|(_, digests)| !digests.is_empty()).collect()
}

fn numbers(app: &App, snapshot: &Snapshot) -> BTreeSet<ReleaseNumber> {
    let first = (app.name.clone(), ReleaseNumber(0));
    let of_app = snapshot.releases.range(first..).take_while(|(key, _)| key.0 == app.name);
    of_app.map(|((_, number), _)| *number).collect()
}

/// Their images; several releases may share one.
fn digests(app: &App, kept: &BTreeSet<ReleaseNumber>, snapshot: &Snapshot) -> BTreeSet<String> {
    let releases = kept.iter().filter_map(|number| snapshot.release(&app.name, *number));
    let images = releases.filter_map(|release| release.build.as_ref());
    let digests = images.filter_map(|build| build.image.split_once('@'));
    digests.map(|(_, digest)| digest.to_owned()).collect()
}

#[cfg(test)]
mod tests;
