//! What the agent needs of a container engine: one trait, so that the same agent runs on Docker and in simulation.

pub mod fake;

use std::time::Duration;

use async_trait::async_trait;
use model::{name::UnitId, release::Probe, time::Time};

use crate::orders::Order;

/// A container engine. Every call may be repeated: starting what runs, stopping what stopped and removing what is gone are fine.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// All containers of this node's units, whatever their state; one-off commands are not among them.
    async fn list(&self) -> Result<Vec<Container>, RuntimeError>;

    /// Makes a container for an attempt at a unit, without starting it. Returns its id.
    async fn create(&self, order: &Order, attempt: u32) -> Result<String, RuntimeError>;

    /// Fetches an image from its registry.
    async fn pull(&self, image: &str) -> Result<(), RuntimeError>;

    /// Starts a container and tells where it is reached.
    async fn start(&self, container: &str) -> Result<Reach, RuntimeError>;

    /// Asks a container to end, and makes it end when `grace` has passed. Returns when it has ended.
    async fn stop(&self, container: &str, grace: Duration) -> Result<(), RuntimeError>;

    /// How a container ended.
    async fn ending(&self, container: &str) -> Result<Ending, RuntimeError>;

    /// The last output of a container, running or ended.
    async fn last_lines(&self, container: &str) -> Result<Vec<String>, RuntimeError>;

    /// Removes a container and what it wrote.
    async fn remove(&self, container: &str) -> Result<(), RuntimeError>;

    /// All images the engine has, whoever made them.
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;

    /// Takes a name from an image; with its last name the image itself goes.
    async fn remove_image(&self, name: &str) -> Result<(), RuntimeError>;

    /// Asks a unit how it is, once.
    async fn probe(&self, target: &Target) -> Result<(), String>;

    /// Waits until some container may have changed. Spurious returns are fine, missed changes are found by the next look.
    async fn changed(&self);
}

/// One container of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Whose it is.
    pub unit: UnitId,
    /// Its app, for the log.
    pub app: String,
    /// The name users see, `web.1`.
    pub name: String,
    /// Which attempt at the unit.
    pub attempt: u32,
    /// Hash of the order it was made from.
    pub spec: String,
    /// What it may use.
    pub memory_bytes: u64,
    /// Where it stands.
    pub state: State,
    /// Whether it may never run twice.
    pub is_exclusive: bool,
    /// Where it is reached while it runs.
    pub reach: Reach,
    /// When it was made.
    pub created: Time,
}

/// Where a running container is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Its address on its own node, without port; none when it ended at once.
    pub ip: Option<String>,
    /// `host:port` for other nodes, if it is published.
    pub published: Option<String>,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The engine's id.
    pub id: String,
    /// With a tag, then with a digest: `127.0.0.1:5000/shop:latest`, `127.0.0.1:5000/shop@sha256:...`.
    pub names: Vec<String>,
    /// Whether any container is made from it.
    pub is_used: bool,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Exit code.
    pub code: i64,
    /// Whether it was killed for using too much memory.
    pub out_of_memory: bool,
    /// Its last output.
    pub last_lines: Vec<String>,
}

/// Whom to ask, and what.
#[derive(Debug, Clone)]
pub struct Target {
    /// The container.
    pub container: String,
    /// `host:port`.
    pub address: String,
    /// The question.
    pub probe: Probe,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// Why the engine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not answer; nothing is known.
    #[error("reach the Docker Engine: {0}")]
    Unavailable(String),
    /// There is no such image here.
    #[error("find image: {0}")]
    ImageMissing(String),
    /// There is no such container.
    #[error("find container: {0}")]
    Gone(String),
    /// The engine refused.
    #[error("{0}")]
    Refused(String),
}
