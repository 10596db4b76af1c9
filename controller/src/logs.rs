//! The controller's way to the loggers: reads an app's lines from all of them, and writes the platform's own to its node's.

mod history;
mod merge;
mod reading;

use std::time::Duration;

use futures_util::future::join_all;
use model::name::{AppName, NodeName};
use model::node::Member;
use proto::logger::logger_client::LoggerClient;
use proto::logger::{AppendRequest, ForgetRequest, Line, ReadRequest};
use proto::problem::Problem;
use rand::Rng;
use service::identity::IdentityError;
use service::{Clock, Stop, Tasks};
use tokio::sync::mpsc;
use tonic::transport::Channel;

pub use self::reading::Batches;
use self::reading::Reading;
use crate::reach::Reach;
use crate::view::ViewReceiver;

/// Platform lines waiting for the logger; what does not fit is dropped.
const QUEUE_LINES: usize = 1_000;
/// How many waiting lines travel together.
const BATCH_LINES: usize = 100;
/// How often a batch is tried before it is given up.
const ATTEMPTS: u32 = 5;
/// The wait after the first failed attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Batches on their way to one reader.
const READER_QUEUE: usize = 16;
/// How long a logger may take to take lines or to delete them.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The process name of the platform's own lines.
const PROCESS: &str = "platform";

/// A cheap handle on the loggers. Lines are said best-effort; reading answers with a problem.
#[derive(Clone)]
pub struct Logs {
    reach: Reach,
    view: ViewReceiver,
    tasks: Tasks,
    lines: mpsc::Sender<Line>,
    clock: Clock,
}

impl Logs {
    /// Starts the task that carries the platform's lines to this node's logger.
    pub fn start(
        reach: Reach,
        view: ViewReceiver,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Logs, IdentityError> {
        let client = reach.logger(reach.own())?;
        let (lines, queue) = mpsc::channel(QUEUE_LINES);
        let carrier = Carrier { client, source: source(), stop: tasks.stop().clone() };
        tasks.spawn("platform lines", carrier.run(queue));
        Ok(Logs { reach, view, tasks: tasks.clone(), lines, clock })
    }

    /// Says something in an app's log, as process `platform`. Never waits, never fails.
    pub fn say(&self, app: &AppName, text: impl Into<String>) {
        let line = Line {
            app: app.to_string(),
            process: PROCESS.to_owned(),
            at_ms: self.clock.now_ms(),
            stream: String::new(),
            text: text.into().into_bytes(),
            id: 0,
        };
        if self.lines.try_send(line).is_err() {
            tracing::warn!(%app, "a platform line was dropped: the logger does not keep up");
        }
    }

    /// Reads an app's lines: what there is at once, then, with follow, what comes.
    pub async fn read(&self, app: AppName, request: ReadRequest) -> Result<Batches, Problem> {
        let is_followed = request.follow;
        let mut reading = Reading::new(self, app, request, self.tasks.stop().clone());
        let first = reading.begin().await?;
        let (reader, batches) = mpsc::channel(READER_QUEUE);
        // There is room: it is new.
        let _ = reader.try_send(first);
        if is_followed {
            self.tasks.spawn("log reader", reading.follow(reader));
        }
        Ok(batches)
    }

    /// Deletes all lines of an app on these nodes; gives those that did not do it.
    pub async fn forget(&self, app: &AppName, members: &[Member]) -> Vec<NodeName> {
        let asked = members.iter().map(|member| async move {
            let done = async {
                let mut client = self.reach.logger(member).ok()?;
                let request = ForgetRequest { app: app.to_string() };
                tokio::time::timeout(ANSWER_LIMIT, client.forget(request)).await.ok()?.ok()
            };
            if done.await.is_some() { None } else { Some(member.name.clone()) }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

/// A name no other run of this program has: the logger tells a repeated batch by it.
fn source() -> String {
    let mut random = [0; 8];
    rand::rng().fill_bytes(&mut random);
    format!("controller-{:016x}", u64::from_le_bytes(random))
}

struct Carrier {
    client: LoggerClient<Channel>,
    source: String,
    stop: Stop,
}

impl Carrier {
    async fn run(mut self, mut queue: mpsc::Receiver<Line>) {
        let mut sequence = 0;
        let mut batch = Vec::new();
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.wait() => return,
                taken = queue.recv_many(&mut batch, BATCH_LINES) => {
                    if taken == 0 {
                        return;
                    }
                }
            }
            sequence += 1;
            let lines = std::mem::take(&mut batch);
            tokio::select! {
                () = stop.wait() => return,
                () = self.carry(&lines, sequence) => {}
            }
        }
    }

    async fn carry(&mut self, lines: &[Line], sequence: u64) {
        let mut pause = FIRST_PAUSE;
        for _ in 0..ATTEMPTS {
            let source = self.source.clone();
            let request = AppendRequest { lines: lines.to_vec(), source, sequence };
            if let Ok(Ok(_)) = tokio::time::timeout(ANSWER_LIMIT, self.client.append(request)).await
            {
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        tracing::warn!(
            lines = lines.len(),
            "platform lines were dropped: no answer from the logger"
        );
    }
}
