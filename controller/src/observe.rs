//! The world as it stands: an image of the store, kept up by a watch, with what was last heard.
//!
//! The image is listed once, at one revision, and followed from there; a watch that fails leads to a new
//! listing. Whoever writes waits for the image to have caught up before deciding anew, so that no
//! decision is made twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use model::app::App;
use model::incarnation::Incarnation;
use model::name::{AppName, Hostname, ReleaseNumber, UnitId};
use model::node::NodeSpec;
use model::release::Release;
use model::route::{Certificate, Domain};
use model::snapshot::Snapshot;
use model::unit::Unit;
use model::volume::Doomed;
use service::{Stop, Wake};
use store::{Change, Entry, Listing, Revision, StoreError};
use tokio::sync::watch;

use crate::gateway::builds::BuildLock;
use crate::history::History;
use crate::incarnation::Life;
use crate::leader::{Beat, Epoch};
use crate::records::{Document, ReadError, Records, decode};

/// The wait after a failed listing or watch; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// How long a decision waits for the image to show what was written.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(10);

/// The image, shared by those who follow it and those who read it.
pub struct Observer {
    records: Records,
    world: Mutex<Arc<Snapshot>>,
    seen: watch::Sender<Seen>,
}

/// How far the image is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The store's revision it shows.
    pub revision: u64,
    /// The revision of the last change of anything that planners decide from.
    pub world_revision: u64,
    /// Where the leader's epoch was last written.
    pub epoch_revision: u64,
    /// The life of the store.
    pub incarnation: Incarnation,
    /// Why the store cannot be followed now, if so.
    pub trouble: Option<String>,
}

impl Seen {
    /// Whether both show the same world; a leader's beat is not a part of it.
    pub fn is_same_world(&self, other: &Seen) -> bool {
        (self.world_revision, self.epoch_revision, &self.trouble)
            == (other.world_revision, other.epoch_revision, &other.trouble)
    }
}

/// Why the image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The store could not be read or holds what cannot be understood.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The watch failed.
    #[error("follow the store")]
    Watch(#[source] StoreError),
    /// The image does not show what was written.
    #[error("see revision {wanted} of the store: the image stands at {at}")]
    Behind {
        /// What was written.
        wanted: u64,
        /// Where the image is.
        at: u64,
    },
}

impl Observer {
    /// Reads the whole store once, or what is remembered of it while there is doubt.
    pub async fn start(records: Records) -> Result<Observer, ObserveError> {
        let is_in_doubt = records.doubt().is_set();
        let listing = match is_in_doubt {
            true => records.store().recall("").await,
            false => records.store().list("").await,
        };
        let (world, mut seen) = understand(&listing.map_err(ReadError::from)?)?;
        seen.trouble = is_in_doubt.then(|| "the store has no quorum".to_owned());
        let (world, seen) = (Mutex::new(Arc::new(world)), watch::Sender::new(seen));
        Ok(Observer { records, world, seen })
    }

    /// Follows the store until `stop`; each change wakes the planners.
    pub async fn follow(self: Arc<Self>, wake: Wake, stop: Stop) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.seen().revision;
            let error = tokio::select! {
                biased;
                () = stop.wait() => return,
                error = self.follow_once(&wake) => error,
            };
            if self.seen().revision > before {
                pause = FIRST_PAUSE;
            }
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "lost the store's changes"
            );
            loop {
                tokio::select! {
                    biased;
                    () = stop.wait() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(MAX_PAUSE);
                match self.relist(&wake).await {
                    Ok(()) => break,
                    Err(error) => self.tell_trouble(error),
                }
            }
        }
    }

    async fn follow_once(&self, wake: &Wake) -> ObserveError {
        let after = Revision(self.seen().revision);
        let mut changes = match self.records.store().watch("", after).await {
            Ok(changes) => changes,
            Err(error) => return ObserveError::Watch(error),
        };
        loop {
            let batch = match changes.next().await {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => return ObserveError::Watch(error),
                None => return ObserveError::Watch(StoreError::Invalid("the watch ended".into())),
            };
            match self.apply(&batch) {
                Ok(true) => wake.kick(),
                Ok(false) => {}
                Err(error) => return error.into(),
            }
        }
    }

    /// Takes changes into the image. Says whether planners decide from them.
    fn apply(&self, batch: &[Change]) -> Result<bool, ReadError> {
        let mut world = self.world();
        let world = Arc::make_mut(&mut world);
        let (mut seen, before) = (self.seen(), self.seen().world_revision);
        for change in batch {
            match change {
                Change::Put(entry) => put(world, &mut seen, entry)?,
                Change::Deleted { key, .. } => delete(world, &mut seen, key),
            }
            seen.revision = seen.revision.max(change.modified().0);
            let is_kept_up = change.key() == Beat::PREFIX
                || change.key().starts_with(BuildLock::PREFIX)
                || change.key().starts_with(History::PREFIX);
            if !is_kept_up {
                seen.world_revision = seen.revision;
            }
        }
        let is_news = seen.world_revision != before;
        self.seen.send_replace(seen);
        Ok(is_news)
    }

    async fn relist(&self, wake: &Wake) -> Result<(), ObserveError> {
        let listing = self.records.store().list("").await.map_err(ReadError::from)?;
        let (world, seen) = understand(&listing)?;
        self.records.doubt().set(false);
        *self.world() = Arc::new(world);
        self.seen.send_replace(seen);
        wake.kick();
        Ok(())
    }

    fn tell_trouble(&self, error: ObserveError) {
        if let ObserveError::Read(ReadError::Store(cause)) = &error {
            self.records.doubt().set(cause.is_retryable());
        }
        let trouble = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(error = trouble, "the store could not be read");
        self.seen.send_modify(|seen| seen.trouble = Some(trouble));
    }

    /// How far the image is.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until the image shows another life of the store than `incarnation`.
    pub async fn outlives(&self, incarnation: &Incarnation) -> Incarnation {
        let mut seen = self.seen.subscribe();
        let seen = seen.wait_for(|seen| seen.incarnation != *incarnation).await;
        seen.expect("the observer keeps the sender").incarnation.clone()
    }

    /// Waits until the image shows what was written at `revision`.
    pub async fn caught_up(&self, revision: u64) -> Result<(), ObserveError> {
        let mut seen = self.seen.subscribe();
        let waited =
            tokio::time::timeout(CATCH_UP_LIMIT, seen.wait_for(|seen| seen.revision >= revision));
        match waited.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ObserveError::Behind { wanted: revision, at: self.seen().revision }),
        }
    }

    /// The stored world, completed by `complete` with what is not stored; and how far it is.
    pub fn snapshot(&self, complete: impl FnOnce(&mut Snapshot)) -> (Arc<Snapshot>, Seen) {
        let mut world = self.world();
        complete(Arc::make_mut(&mut world));
        (world.clone(), self.seen())
    }

    fn world(&self) -> MutexGuard<'_, Arc<Snapshot>> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn understand(listing: &Listing) -> Result<(Snapshot, Seen), ReadError> {
    let (mut world, mut seen) = (Snapshot::default(), Seen::default());
    for entry in &listing.entries {
        put(&mut world, &mut seen, entry)?;
    }
    seen.revision = listing.revision.0;
    seen.world_revision = seen.revision;
    Ok((world, seen))
}

fn put(world: &mut Snapshot, seen: &mut Seen, entry: &Entry) -> Result<(), ReadError> {
    let is = |prefix: &str| entry.key.starts_with(prefix);
    if is(App::PREFIX) {
        let app = decode::<App>(entry)?;
        world.apps.insert(app.value.name.clone(), app);
    } else if is(Release::PREFIX) {
        let release = decode::<Release>(entry)?;
        world.releases.insert((release.value.app.clone(), release.value.number), release);
    } else if is(Unit::PREFIX) {
        let unit = decode::<Unit>(entry)?;
        world.units.insert(unit.value.id.clone(), unit);
    } else if is(Domain::PREFIX) {
        let domain = decode::<Domain>(entry)?;
        world.domains.insert(domain.value.host.clone(), domain);
    } else if is(Certificate::PREFIX) {
        let certificate = decode::<Certificate>(entry)?;
        world.certificates.insert(certificate.value.name.clone(), certificate);
    } else if is(NodeSpec::PREFIX) {
        let spec = decode::<NodeSpec>(entry)?;
        world.specs.insert(spec.value.name.clone(), spec);
    } else if is(Doomed::PREFIX) {
        let doomed = decode::<Doomed>(entry)?;
        world.doomed.insert(doomed.value.id.clone(), doomed);
    } else if entry.key == Epoch::PREFIX {
        seen.epoch_revision = entry.modified.0;
    } else if entry.key == Life::PREFIX {
        seen.incarnation = decode::<Life>(entry)?.value.incarnation();
    }
    Ok(())
}

fn delete(world: &mut Snapshot, seen: &mut Seen, key: &str) {
    if let Some(name) = key.strip_prefix(App::PREFIX) {
        world.apps.retain(|app, _| app.as_str() != name);
    } else if let Some(path) = key.strip_prefix(Release::PREFIX) {
        if let Some(name) = release_name(path) {
            world.releases.remove(&name);
        }
    } else if let Some(name) = key.strip_prefix(Unit::PREFIX) {
        if let Ok(unit) = name.parse::<UnitId>() {
            world.units.remove(&unit);
        }
    } else if let Some(name) = key.strip_prefix(Domain::PREFIX) {
        if let Ok(host) = name.parse::<Hostname>() {
            world.domains.remove(&host);
        }
    } else if let Some(name) = key.strip_prefix(Certificate::PREFIX) {
        world.certificates.remove(name);
    } else if let Some(name) = key.strip_prefix(NodeSpec::PREFIX) {
        world.specs.retain(|node, _| node.as_str() != name);
    } else if let Some(name) = key.strip_prefix(Doomed::PREFIX) {
        world.doomed.retain(|volume, _| volume.as_str() != name);
    } else if key == Epoch::PREFIX {
        seen.epoch_revision = 0;
    }
}

fn release_name(path: &str) -> Option<(AppName, ReleaseNumber)> {
    let (app, number) = path.split_once('/')?;
    Some((app.parse().ok()?, ReleaseNumber(number.parse().ok()?)))
}

#[cfg(test)]
mod tests;
