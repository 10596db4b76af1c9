//! Tells the registry which images are still needed, now and then and best effort.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::app::App;
use model::name::{AppName, ReleaseNumber};
use model::snapshot::Snapshot;
use proto::registry::RetainRequest;
use proto::registry::registry_client::RegistryClient;
use service::{Clock, Identity, Tasks};
use tokio::sync::Mutex;
use tonic::transport::Channel;

use crate::plan::retention::retained;

/// How often the registry is told at most.
const PERIOD: Duration = Duration::from_secs(60);
/// How long it may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The way to the registry. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    client: RegistryClient<Channel>,
}

impl Images {
    /// Of the registry at `address`.
    pub fn new(
        identity: &Identity,
        address: &str,
    ) -> Result<Images, service::identity::IdentityError> {
        let channel = service::channel(identity, address, "registry-proxy")?;
        Ok(Images { client: RegistryClient::new(channel) })
    }

    /// Deletes all images of an app. A failure is told in the program's log only.
    pub async fn forget(&self, app: &AppName) {
        let whole = RetainRequest { repository: app.to_string(), keep: Vec::new(), whole: true };
        self.retain(whole).await;
    }

    /// Says whether the registry did it.
    async fn retain(&self, request: RetainRequest) -> bool {
        let (repository, mut client) = (request.repository.clone(), self.client.clone());
        match tokio::time::timeout(ANSWER_LIMIT, client.retain(request)).await {
            Ok(Ok(answer)) => {
                let gone = answer.into_inner();
                let bytes = gone.bytes_freed;
                tracing::debug!(repository, bytes, "told the registry what is kept");
                return true;
            }
            Ok(Err(status)) => {
                tracing::warn!(repository, %status, "the registry was not told what is kept");
            }
            Err(_) => tracing::warn!(repository, "the registry did not answer"),
        }
        false
    }
}

/// Remembers what the registry was told.
pub struct Retention {
    images: Images,
    clock: Clock,
    tasks: Tasks,
    /// Held by the round that is under way, so that there is one at a time.
    told: Arc<Mutex<Told>>,
    last: Duration,
}

/// The releases of each app whose images the registry last said it keeps.
type Told = BTreeMap<AppName, BTreeSet<ReleaseNumber>>;

impl Retention {
    /// Nothing was told yet.
    pub fn new(images: Images, clock: Clock, tasks: Tasks) -> Retention {
        let last = clock.monotonic();
        Retention { images, clock, tasks, told: Arc::default(), last }
    }

    /// Tells the registry about apps whose releases changed, if it is time again. What it was not told is told again
    /// the next time.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        if self.clock.since(self.last) < PERIOD {
            return;
        }
        let Ok(mut told) = self.told.clone().try_lock_owned() else { return };
        self.last = self.clock.monotonic();
        told.retain(|app, _| snapshot.apps.contains_key(app));
        let mut requests = Vec::new();
        for app in snapshot.apps.values().map(|app| &app.value) {
            let kept = retained(&numbers(app, snapshot), app);
            if app.destroyed.is_some() || told.get(&app.name) == Some(&kept) {
                continue;
            }
            let keep = digests(app, &kept, snapshot);
            if !keep.is_empty() {
                let repository = app.name.to_string();
                let request = RetainRequest { repository, keep, whole: false };
                requests.push((app.name.clone(), kept, request));
            }
        }
        if requests.is_empty() {
            return;
        }
        let (images, stop) = (self.images.clone(), self.tasks.stop().clone());
        self.tasks.spawn("image retention", async move {
            for (app, kept, request) in requests {
                let is_told = tokio::select! {
                    () = stop.wait() => return,
                    is_told = images.retain(request) => is_told,
                };
                if is_told {
                    told.insert(app, kept);
                }
            }
        });
    }
}

fn numbers(app: &App, snapshot: &Snapshot) -> BTreeSet<ReleaseNumber> {
    let first = (app.name.clone(), ReleaseNumber(0));
    let of_app = snapshot.releases.range(first..).take_while(|(key, _)| key.0 == app.name);
    of_app.map(|((_, number), _)| *number).collect()
}

/// Their images; several releases may share one.
fn digests(app: &App, kept: &BTreeSet<ReleaseNumber>, snapshot: &Snapshot) -> Vec<String> {
    let releases = kept.iter().filter_map(|number| snapshot.release(&app.name, *number));
    let images = releases.filter_map(|release| release.build.as_ref());
    let digests = images.filter_map(|build| build.image.split_once('@'));
    digests.map(|(_, digest)| digest.to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
