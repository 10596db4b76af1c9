//! The controller's way to the logger: reads an app's lines, and writes the platform's own.

use std::time::Duration;

use model::name::AppName;
use proto::logger::logger_client::LoggerClient;
use proto::logger::{AppendRequest, ForgetRequest, Line, LineBatch, ReadRequest};
use proto::problem::{Code, Problem};
use rand::Rng;
use service::{Clock, Identity, Stop, Tasks};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;

/// Platform lines waiting for the logger; what does not fit is dropped.
const QUEUE_LINES: usize = 1_000;
/// How many waiting lines travel together.
const BATCH_LINES: usize = 100;
/// How often a batch is tried before it is given up.
const ATTEMPTS: u32 = 5;
/// The wait after the first failed attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long the logger may take to take lines or to begin to give them.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The process name of the platform's own lines.
const PROCESS: &str = "platform";

/// A cheap handle on the logger. Lines are said best-effort; reading answers with a problem.
#[derive(Clone)]
pub struct Logs {
    client: LoggerClient<Channel>,
    lines: mpsc::Sender<Line>,
    clock: Clock,
}

impl Logs {
    /// Starts the task that carries the platform's lines to the logger at `address`.
    pub fn start(
        identity: &Identity,
        address: &str,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Logs, service::identity::IdentityError> {
        let client = LoggerClient::new(service::channel(identity, address, "logger")?);
        let (lines, queue) = mpsc::channel(QUEUE_LINES);
        let carrier =
            Carrier { client: client.clone(), source: source(), stop: tasks.stop().clone() };
        tasks.spawn("platform lines", carrier.run(queue));
        Ok(Logs { client, lines, clock })
    }

    /// Says something in an app's log, as process `platform`. Never waits, never fails.
    pub fn say(&self, app: &AppName, text: impl Into<String>) {
        let line = Line {
            app: app.to_string(),
            process: PROCESS.to_owned(),
            at_ms: self.clock.now_ms(),
            stream: String::new(),
            text: text.into().into_bytes(),
        };
        if self.lines.try_send(line).is_err() {
            tracing::warn!(%app, "a platform line was dropped: the logger does not keep up");
        }
    }

    /// Reads an app's lines.
    pub async fn read(&self, request: ReadRequest) -> Result<Streaming<LineBatch>, Problem> {
        let mut client = self.client.clone();
        let answer = within(client.read(request)).await?;
        Ok(answer.into_inner())
    }

    /// Deletes all lines of an app.
    pub async fn forget(&self, app: &AppName) -> Result<(), Problem> {
        let mut client = self.client.clone();
        within(client.forget(ForgetRequest { app: app.to_string() })).await?;
        Ok(())
    }
}

async fn within<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, Problem> {
    let unavailable = || {
        Problem::new(Code::Unavailable, "the log service does not answer").hint(
            "try again in a moment; an administrator finds the reason with `clusterctl status`",
        )
    };
    match tokio::time::timeout(ANSWER_LIMIT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => {
            tracing::warn!(%status, "the logger refused a call");
            Err(unavailable())
        }
        Err(_) => Err(unavailable()),
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
