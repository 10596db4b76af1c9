//! One build at a time per app: locks in the store, so that every controller knows them, that lapse when nobody keeps them.
//!
//! The store grants no leases and clocks of nodes differ, so a lock carries a count that grows each time it is kept. A
//! controller that has seen the same count for long enough, by its own monotonic time, lets another build take it over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use model::name::AppName;
use serde::{Deserialize, Serialize};
use service::{Clock, Stop};
use store::Change;

use crate::records::{CommitError, Document, ReadError, Records, Write, decode};

/// A lock that was seen unchanged for this long is free. Builders keep theirs every 5 s.
const LAPSES_AFTER: Duration = Duration::from_secs(15);
/// After the store could not be followed.
const PAUSE: Duration = Duration::from_secs(1);

/// The document of one app under build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildLock {
    /// Which app.
    pub app: AppName,
    /// Who has it.
    pub build_id: String,
    /// How often it was kept.
    pub count: u64,
}

impl Document for BuildLock {
    const PREFIX: &'static str = "builds/";

    fn key(&self) -> String {
        key(&self.app)
    }
}

fn key(app: &AppName) -> String {
    format!("{}{app}", BuildLock::PREFIX)
}

/// Why it is not known whose a lock is.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] CommitError),
}

/// The locks, and since when this controller has seen each as it is. Cheap to clone.
#[derive(Clone)]
pub(super) struct Locks {
    records: Records,
    clock: Clock,
    seen: Arc<Mutex<BTreeMap<AppName, Seen>>>,
}

struct Seen {
    build_id: String,
    count: u64,
    since: Duration,
}

impl Locks {
    /// None was seen yet.
    pub(super) fn new(records: Records, clock: Clock) -> Locks {
        Locks { records, clock, seen: Arc::default() }
    }

    /// Takes or keeps the lock: one read and one guarded write. False while another build holds it.
    pub(super) async fn take(&self, app: &AppName, build_id: &str) -> Result<bool, LockError> {
        loop {
            let held = self.records.get::<BuildLock>(&key(app)).await?;
            let count = held.as_ref().map_or(0, |held| held.value.count + 1);
            let own = BuildLock { app: app.clone(), build_id: build_id.to_owned(), count };
            let write = match &held {
                None => Write::new().create(&own),
                Some(held) if held.value.build_id == build_id || self.has_lapsed(&held.value) => {
                    Write::new().replace(&own, held.revision)
                }
                Some(_) => return Ok(false),
            };
            match self.records.commit(write).await {
                Ok(_) => {
                    self.note(&own);
                    return Ok(true);
                }
                // Another call wrote it at this moment; what it wrote decides.
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives the lock up, if it is this build's.
    pub(super) async fn release(&self, app: &AppName, build_id: &str) -> Result<(), LockError> {
        let held = self.records.get::<BuildLock>(&key(app)).await?;
        let Some(held) = held.filter(|held| held.value.build_id == build_id) else { return Ok(()) };
        match self.records.commit(Write::new().delete(&held.value, held.revision)).await {
            // Taken over, or kept by a call that was late: then it lapses.
            Ok(_) | Err(CommitError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sees the locks change until `stop`, so that one that nobody keeps any more has lapsed by the time it is wanted.
    pub(super) async fn follow(self, stop: Stop) {
        loop {
            let error = tokio::select! {
                () = stop.wait() => return,
                error = self.follow_once() => error,
            };
            tracing::debug!(%error, "the build locks are listed anew");
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn follow_once(&self) -> ReadError {
        let store = self.records.store();
        let listed = async {
            let listing = store.list(BuildLock::PREFIX).await?;
            for entry in &listing.entries {
                self.note(&decode(entry)?.value);
            }
            Ok(store.watch(BuildLock::PREFIX, listing.revision).await?)
        };
        let mut changes = match listed.await {
            Ok(changes) => changes,
            Err(error) => return error,
        };
        loop {
            match changes.next().await {
                Some(Ok(batch)) => batch.iter().for_each(|change| self.see(change)),
                Some(Err(error)) => return error.into(),
                None => return store::StoreError::Invalid("the watch ended".into()).into(),
            }
        }
    }

    fn see(&self, change: &Change) {
        match change {
            Change::Put(entry) => match decode(entry) {
                Ok(lock) => {
                    self.note(&lock.value);
                }
                Err(error) => tracing::error!(%error, "a build lock is not one"),
            },
            Change::Deleted { key, .. } => {
                let app = key.strip_prefix(BuildLock::PREFIX);
                self.seen().retain(|known, _| app != Some(known.as_str()));
            }
        }
    }

    fn has_lapsed(&self, lock: &BuildLock) -> bool {
        self.note(lock) >= LAPSES_AFTER
    }

    /// For how long it was seen as it is.
    fn note(&self, lock: &BuildLock) -> Duration {
        let now = self.clock.monotonic();
        let mut seen = self.seen();
        if let Some(known) = seen.get(&lock.app)
            && (&known.build_id, known.count) == (&lock.build_id, lock.count)
        {
            return now.saturating_sub(known.since);
        }
        let (build_id, count) = (lock.build_id.clone(), lock.count);
        seen.insert(lock.app.clone(), Seen { build_id, count, since: now });
        Duration::ZERO
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<AppName, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use service::ManualClock;
    use store::MemoryStore;

    use super::*;

    async fn take(locks: &Locks, app: &str, build_id: &str) -> bool {
        locks.take(&app.parse().unwrap(), build_id).await.unwrap()
    }

    #[tokio::test]
    async fn one_build_holds_the_lock_at_every_controller_until_it_lapses_or_gives_it_up() {
        let records = Records::new(Arc::new(MemoryStore::new()));
        let manual = ManualClock::new(0);
        let here = Locks::new(records.clone(), manual.clock());
        let there = Locks::new(records, manual.clock());
        let shop = "shop".parse().unwrap();
        assert!(take(&here, "shop", "one").await);
        assert!(!take(&there, "shop", "two").await);
        assert!(take(&there, "blog", "two").await);
        manual.advance(Duration::from_secs(14));
        // Kept through the one, so it has not lapsed at the other either.
        assert!(take(&here, "shop", "one").await);
        manual.advance(Duration::from_secs(14));
        assert!(!take(&there, "shop", "two").await);
        manual.advance(Duration::from_secs(14));
        assert!(!take(&there, "shop", "two").await);
        manual.advance(Duration::from_secs(1));
        assert!(take(&there, "shop", "two").await);
        // The first one has lost it, and cannot give up what is not its own.
        here.release(&shop, "one").await.unwrap();
        assert!(!take(&here, "shop", "one").await);
        there.release(&shop, "two").await.unwrap();
        assert!(take(&here, "shop", "one").await);
    }

    #[tokio::test]
    async fn a_lock_that_nobody_asked_for_lapses_too() {
        let records = Records::new(Arc::new(MemoryStore::new()));
        let manual = ManualClock::new(0);
        let gone = Locks::new(records.clone(), manual.clock());
        let here = Locks::new(records, manual.clock());
        let stop = Stop::new();
        let following = tokio::spawn(here.clone().follow(stop.clone()));
        assert!(take(&gone, "shop", "one").await);
        while here.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        manual.advance(LAPSES_AFTER);
        assert!(take(&here, "shop", "two").await);
        stop.set();
        following.await.unwrap();
    }
}
