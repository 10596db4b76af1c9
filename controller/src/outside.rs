//! What the planner asks of other parts: the loggers, the registries and the agents. No pass waits for any of it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use model::name::AppName;
use model::snapshot::Snapshot;
use service::{Clock, Tasks};

use crate::logs::Logs;
use crate::reach::Reach;
use crate::records::{CommitError, Records};
use crate::retention::{Images, Retention, leftovers};
use crate::volumes::Volumes;

/// The parts around the planner, or nobody in tests and simulation.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// Says something in an app's log. Never waits, never fails.
    fn say(&self, app: &AppName, text: String);

    /// Tells which images are still needed, now and then.
    fn retain(&self, snapshot: &Arc<Snapshot>);

    /// Has the data of destroyed volumes removed.
    fn remove_volumes(&self, snapshot: &Arc<Snapshot>);

    /// Deletes what a destroyed app left elsewhere, and remembers in the store what could not be done now.
    async fn forget(&self, app: &AppName, snapshot: &Snapshot) -> Result<(), CommitError>;
}

/// The real ones.
pub struct Others {
    records: Records,
    logs: Logs,
    images: Images,
    retention: Mutex<Retention>,
    volumes: Volumes,
    tasks: Tasks,
}

impl Others {
    /// Reached by these ways.
    pub fn new(records: Records, logs: Logs, reach: Reach, clock: Clock, tasks: Tasks) -> Others {
        let (images, too) = (Images::new(reach.clone()), tasks.clone());
        let retention = Retention::new(images.clone(), logs.clone(), records.clone(), clock, too);
        let volumes = Volumes::new(reach, records.clone());
        Others { records, logs, images, retention: Mutex::new(retention), volumes, tasks }
    }
}

#[async_trait]
impl Outside for Others {
    fn say(&self, app: &AppName, text: String) {
        self.logs.say(app, text);
    }

    fn retain(&self, snapshot: &Arc<Snapshot>) {
        self.retention.lock().unwrap_or_else(PoisonError::into_inner).follow(snapshot);
    }

    fn remove_volumes(&self, snapshot: &Arc<Snapshot>) {
        self.volumes.follow(snapshot, &self.tasks);
    }

    async fn forget(&self, app: &AppName, snapshot: &Snapshot) -> Result<(), CommitError> {
        leftovers::forget(app, snapshot, (&self.records, &self.logs, &self.images)).await
    }
}

/// Nobody: nothing is said or kept. For tests and simulation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

#[async_trait]
impl Outside for Nobody {
    fn say(&self, _app: &AppName, _text: String) {}

    fn retain(&self, _snapshot: &Arc<Snapshot>) {}

    fn remove_volumes(&self, _snapshot: &Arc<Snapshot>) {}

    async fn forget(&self, _app: &AppName, _snapshot: &Snapshot) -> Result<(), CommitError> {
        Ok(())
    }
}
