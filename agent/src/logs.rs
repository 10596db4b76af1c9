//! The output of containers, sent to this node's logger: nothing lost while the engine keeps it, nothing sent twice.
//!
//! One pump per container reads its output from where the logger's last acknowledgement left off, and does not read on
//! while a batch is not acknowledged: what waits, waits in the engine's own file.

mod batch;
mod cursor;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bollard::container::LogOutput;
use futures_util::StreamExt;
use proto::logger::{AppendRequest, logger_client::LoggerClient};
use service::{Metrics, Stop, Tasks};
use tokio::sync::Notify;
use tonic::transport::Channel;

use crate::{docker::Docker, runtime::Container};
use batch::Batch;
use cursor::Cursor;

/// How long a line may wait for others to travel with.
const LINGER: Duration = Duration::from_millis(100);
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Somebody who sees to the output of containers.
pub trait Lines: Send + Sync + 'static {
    /// Sends a container's output on, from where it was left. Asking again changes nothing.
    fn follow(&self, container: &Container);

    /// Whether all output of an ended container was sent on.
    fn is_drained(&self, container: &str) -> bool;

    /// The container is gone.
    fn forget(&self, container: &str);
}

/// Nobody: output is dropped. For simulation.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLines;

impl Lines for NoLines {
    fn follow(&self, _container: &Container) {}

    fn is_drained(&self, _container: &str) -> bool {
        true
    }

    fn forget(&self, _container: &str) {}
}

/// Whose lines they are.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The container.
    pub container: String,
    /// The app.
    pub app: String,
    /// `web.1`, `run.x1`.
    pub process: String,
}

/// Sends output to the logger. A cheap handle.
#[derive(Clone)]
pub struct Shipper(Arc<Shared>);

struct Shared {
    node: String,
    folder: PathBuf,
    docker: Arc<Docker>,
    client: LoggerClient<Channel>,
    tasks: Tasks,
    /// Woken when a container is drained.
    kick: Arc<Notify>,
    sent: service::Counter,
    pumps: Mutex<BTreeMap<String, Pump>>,
}

struct Pump {
    is_drained: bool,
    stop: Stop,
}

/// What the shipper works with.
pub struct Parts {
    /// This node.
    pub node: String,
    /// Where cursors are kept; the folder exists.
    pub folder: PathBuf,
    /// Where output comes from.
    pub docker: Arc<Docker>,
    /// Where it goes.
    pub logger: Channel,
    /// What runs the pumps.
    pub tasks: Tasks,
    /// Woken when a container is drained.
    pub kick: Arc<Notify>,
}

impl Shipper {
    /// Follows nothing yet.
    pub fn new(parts: Parts, metrics: &Metrics) -> Shipper {
        let Parts { node, folder, docker, logger, tasks, kick } = parts;
        let sent = metrics.counter("log_lines_total", "Lines of units acknowledged by the logger.");
        let client = LoggerClient::new(logger);
        let pumps = Mutex::default();
        Shipper(Arc::new(Shared { node, folder, docker, client, tasks, kick, sent, pumps }))
    }

    /// As [`Lines::follow`].
    pub fn follow_origin(&self, origin: Origin) {
        let stop = self.0.tasks.stop().child();
        {
            let mut pumps = self.pumps();
            if pumps.contains_key(&origin.container) {
                return;
            }
            let pump = Pump { is_drained: false, stop: stop.clone() };
            pumps.insert(origin.container.clone(), pump);
        }
        let shipper = self.clone();
        self.0.tasks.spawn("log pump", async move {
            tokio::select! {
                () = stop.wait() => {}
                () = shipper.pump(&origin) => {}
            }
        });
    }

    /// Removes the cursors of all containers but these.
    pub fn sweep(&self, containers: &[String]) {
        cursor::sweep(&self.0.folder, containers);
    }

    async fn pump(&self, origin: &Origin) {
        let path = self.cursor_path(&origin.container);
        let short: String = origin.container.chars().take(12).collect();
        let mut cursor = Cursor::open(path, &format!("{}/{short}", self.0.node));
        let mut backoff = FIRST_BACKOFF;
        loop {
            match self.read_through(origin, &mut cursor).await {
                Ok(true) => break,
                Ok(false) => backoff = FIRST_BACKOFF,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::debug!(error, process = origin.process, "output is read anew");
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        if let Some(pump) = self.pumps().get_mut(&origin.container) {
            pump.is_drained = true;
        }
        self.0.kick.notify_one();
    }

    /// Sends all output from the cursor on. True: the container had ended before, so nothing more will come.
    async fn read_through(&self, origin: &Origin, cursor: &mut Cursor) -> anyhow::Result<bool> {
        let docker = &self.0.docker;
        let Some(is_running) = docker.is_running(&origin.container).await? else { return Ok(true) };
        let mut output = Box::pin(docker.follow(&origin.container, cursor.since_second()).await?);
        let mut skipper = cursor.resume();
        // A batch on its way when the agent ended goes out again as the same batch.
        let mut batch = Batch::new(cursor.sending());
        loop {
            let next = if batch.is_empty() {
                output.next().await
            } else {
                match tokio::time::timeout(LINGER, output.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        self.send(&mut batch, cursor).await;
                        continue;
                    }
                }
            };
            let Some(piece) = next else { break };
            let (stream, bytes) = split(piece?);
            let (at_ns, text) = batch::stamped(&bytes, cursor.latest_ns());
            if skipper.skips(at_ns) {
                continue;
            }
            batch.push(origin, stream, at_ns, text);
            if batch.is_full() {
                self.send(&mut batch, cursor).await;
            }
        }
        if !batch.is_empty() {
            self.send(&mut batch, cursor).await;
        }
        Ok(!is_running)
    }

    /// Sends a batch until it is acknowledged.
    async fn send(&self, batch: &mut Batch, cursor: &mut Cursor) {
        let (lines, stamps) = batch.take();
        let sequence = cursor.begin(lines.len());
        cursor.save();
        let request = AppendRequest { lines, source: cursor.source().to_owned(), sequence };
        let mut client = self.0.client.clone();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let sent = tokio::time::timeout(APPEND_TIMEOUT, client.append(request.clone())).await;
            match sent {
                Ok(Ok(_)) => break,
                Ok(Err(status)) => tracing::debug!(%status, "the logger did not take lines"),
                Err(_) => tracing::debug!("the logger does not answer"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        self.0.sent.add(stamps.len() as u64);
        cursor.acknowledged(&stamps);
        cursor.save();
    }

    fn cursor_path(&self, container: &str) -> PathBuf {
        cursor::path(&self.0.folder, container)
    }

    fn pumps(&self) -> MutexGuard<'_, BTreeMap<String, Pump>> {
        self.0.pumps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines for Shipper {
    fn follow(&self, container: &Container) {
        self.follow_origin(Origin {
            container: container.id.clone(),
            app: container.app.clone(),
            process: container.name.clone(),
        });
    }

    fn is_drained(&self, container: &str) -> bool {
        self.pumps().get(container).is_some_and(|pump| pump.is_drained)
    }

    fn forget(&self, container: &str) {
        if let Some(pump) = self.pumps().remove(container) {
            pump.stop.set();
        }
        cursor::remove(&self.0.folder, container);
    }
}

fn split(output: LogOutput) -> (&'static str, bytes::Bytes) {
    match output {
        LogOutput::StdErr { message } => ("stderr", message),
        LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => ("stdout", message),
    }
}
