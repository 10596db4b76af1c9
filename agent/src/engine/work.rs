//! The steps that take time, carried out beside the engine; each ends in one event.

use std::{sync::Arc, time::Duration};

use model::{name::UnitId, time::Time, unit::Phase};
use service::Stop;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    health::Verdict,
    orders::Order,
    runtime::{Container, Ending, Reach, Runtime, RuntimeError, State},
};

/// Containers made and started at once.
const STARTS: usize = 4;
/// Images fetched at once.
const PULLS: usize = 2;
/// Containers removed at once; removing competes with starting for the Docker Engine's locks.
const REMOVALS: usize = 2;
/// How long a failed check waits for the unit's last output before it is told without.
const LINES_TIMEOUT: Duration = Duration::from_secs(1);
/// A step that failed is not tried again before.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// What the engine hears.
#[derive(Debug)]
pub struct Event {
    /// Of which unit.
    pub unit: UnitId,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// A start came further.
    Phase(Phase),
    /// A start ended well.
    Started(Container),
    /// A start failed.
    NotStarted(Failure),
    /// How a container ended; none if it could not be told now.
    Examined {
        /// Which.
        container: Container,
        /// How.
        ending: Option<Ending>,
    },
    /// A container was stopped; without lines if it was not.
    Stopped {
        /// Which.
        container: Container,
        /// Its last output.
        last_lines: Option<Vec<String>>,
    },
    /// A removal ended, well or not.
    Removed,
    /// A container's check passed often enough.
    Ready {
        /// Which.
        container: String,
    },
    /// A container's check failed too often.
    Unwell {
        /// Which.
        container: String,
        /// Why, in the user's words.
        reason: String,
        /// Its last output.
        last_lines: Vec<String>,
    },
}

/// Why a start failed.
#[derive(Debug)]
pub enum Failure {
    /// It is not wanted any more.
    Cancelled,
    /// The Docker Engine does not answer.
    Engine,
    /// It is the unit's or its image's own.
    Unit {
        /// `image-missing`, `cannot-start`.
        code: &'static str,
        /// In the user's words.
        reason: String,
    },
}

/// Carries out steps, so many at once.
#[derive(Clone)]
pub struct Worker {
    runtime: Arc<dyn Runtime>,
    events: mpsc::Sender<Event>,
    starts: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
    removals: Arc<Semaphore>,
}

impl Worker {
    /// A worker that tells its events to `events`.
    pub fn new(runtime: Arc<dyn Runtime>, events: mpsc::Sender<Event>) -> Worker {
        Worker {
            runtime,
            events,
            starts: Arc::new(Semaphore::new(STARTS)),
            pulls: Arc::new(Semaphore::new(PULLS)),
            removals: Arc::new(Semaphore::new(REMOVALS)),
        }
    }

    /// The containers.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    /// Makes and starts a container; fetches its image when it is not here.
    pub async fn start(self, order: Order, attempt: u32, cancel: Stop) {
        let unit = order.unit.id.clone();
        let created = tokio::select! {
            biased;
            // A container that comes of a call cut off here was never started: the next look removes it.
            () = cancel.wait() => Err(Failure::Cancelled),
            created = self.create(&order, attempt) => created,
        };
        let started = match created {
            Ok((container, slot)) => {
                let started = self.runtime.start(&container).await;
                drop(slot);
                started
                    .map(|reach| running(&order, attempt, container, reach))
                    .map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        let what = match started {
            Ok(container) => What::Started(container),
            Err(failure) => {
                if matches!(failure, Failure::Engine) {
                    tokio::time::sleep(FAILED_PAUSE).await;
                }
                What::NotStarted(failure)
            }
        };
        self.tell(unit, what).await;
    }

    async fn create(
        &self,
        order: &Order,
        attempt: u32,
    ) -> Result<(String, OwnedSemaphorePermit), Failure> {
        let slot = acquire(&self.starts).await;
        match self.runtime.create(order, attempt).await {
            Ok(container) => return Ok((container, slot)),
            Err(RuntimeError::ImageMissing(_)) => drop(slot),
            Err(error) => return Err(error.into()),
        }
        self.pull(order).await?;
        let slot = acquire(&self.starts).await;
        Ok((self.runtime.create(order, attempt).await?, slot))
    }

    async fn pull(&self, order: &Order) -> Result<(), Failure> {
        self.tell(order.unit.id.clone(), What::Phase(Phase::Pulling)).await;
        let slot = acquire(&self.pulls).await;
        let pulled = self.runtime.pull(&order.image).await;
        drop(slot);
        pulled.map_err(|error| match error {
            RuntimeError::Unavailable(_) => Failure::Engine,
            RuntimeError::ImageMissing(reason)
            | RuntimeError::Gone(reason)
            | RuntimeError::Refused(reason) => Failure::Unit {
                code: "image-missing",
                reason: format!("its image cannot be fetched: {reason}"),
            },
        })?;
        self.tell(order.unit.id.clone(), What::Phase(Phase::Starting)).await;
        Ok(())
    }

    /// Finds out how a container ended.
    pub async fn examine(self, container: Container) {
        let ending = match self.runtime.ending(&container.id).await {
            Ok(ending) => Some(ending),
            Err(error) => {
                self.failed("examine", &container, &error).await;
                None
            }
        };
        self.tell(container.unit.clone(), What::Examined { container, ending }).await;
    }

    /// Ends a container.
    pub async fn stop(self, container: Container, grace: Duration) {
        let last_lines = match self.runtime.stop(&container.id, grace).await {
            Ok(()) => {
                let ending = self.runtime.ending(&container.id).await;
                Some(ending.map(|ending| ending.last_lines).unwrap_or_default())
            }
            Err(RuntimeError::Gone(_)) => Some(Vec::new()),
            Err(error) => {
                self.failed("stop", &container, &error).await;
                None
            }
        };
        self.tell(container.unit.clone(), What::Stopped { container, last_lines }).await;
    }

    /// Removes a container.
    pub async fn remove(self, container: Container) {
        let slot = acquire(&self.removals).await;
        let removed = self.runtime.remove(&container.id).await;
        drop(slot);
        match removed {
            Ok(()) | Err(RuntimeError::Gone(_)) => {}
            Err(error) => self.failed("remove", &container, &error).await,
        }
        self.tell(container.unit, What::Removed).await;
    }

    /// Tells what a health check found.
    pub async fn tell_verdict(&self, unit: &UnitId, container: &str, verdict: Verdict) {
        let what = match verdict {
            Verdict::Ready => What::Ready { container: container.to_owned() },
            Verdict::Failed { reason } => What::Unwell {
                container: container.to_owned(),
                reason,
                last_lines: self.last_lines(container).await,
            },
        };
        self.tell(unit.clone(), what).await;
    }

    /// As far as they can be had at once: whoever waits wants to know that the unit is down.
    async fn last_lines(&self, container: &str) -> Vec<String> {
        let asked = tokio::time::timeout(LINES_TIMEOUT, self.runtime.last_lines(container)).await;
        asked.ok().and_then(Result::ok).unwrap_or_default()
    }

    async fn failed(&self, action: &str, container: &Container, error: &RuntimeError) {
        tracing::warn!(%error, unit = %container.unit, "failed to {action} a container; trying again");
        tokio::time::sleep(FAILED_PAUSE).await;
    }

    async fn tell(&self, unit: UnitId, what: What) {
        // It fails only when the engine has ended, and then nobody needs to know.
        let _ = self.events.send(Event { unit, what }).await;
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Failure {
        match error {
            RuntimeError::Unavailable(_) => Failure::Engine,
            RuntimeError::ImageMissing(reason) => Failure::Unit { code: "image-missing", reason },
            RuntimeError::Gone(reason) | RuntimeError::Refused(reason) => {
                Failure::Unit { code: "cannot-start", reason }
            }
        }
    }
}

fn running(order: &Order, attempt: u32, id: String, reach: Reach) -> Container {
    Container {
        id,
        unit: order.unit.id.clone(),
        app: order.unit.app.to_string(),
        name: order.unit.display_name(),
        attempt,
        spec: order.spec.clone(),
        memory_bytes: order.unit.memory_bytes,
        state: State::Running,
        is_exclusive: order.unit.exclusive,
        reach,
        // Later than any now: its age is zero.
        created: Time(u64::MAX),
    }
}

async fn acquire(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    slots.clone().acquire_owned().await.expect("the semaphore is never closed")
}
