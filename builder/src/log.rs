//! Build output on its way to the app's log: batched, sent in the background, never in a build's way.

use std::{sync::Arc, time::Duration};

use model::name::AppName;
use proto::logger::{AppendRequest, Line, logger_client::LoggerClient};
use service::{Clock, Counter, Stop};
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// Lines that may wait for the logger; further ones are counted and dropped.
const WAITING: usize = 8192;
/// Lines per call.
const BATCH: usize = 500;
/// A call may take this long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a batch is tried, and the pause between: an outage of a few seconds loses nothing.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// A cheap handle that takes lines of builds.
#[derive(Debug, Clone)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: mpsc::Sender<Line>,
    clock: Clock,
    dropped: Counter,
}

/// The other end: sends what the handles took.
pub struct Sender {
    lines: mpsc::Receiver<Line>,
    client: LoggerClient<Channel>,
    source: String,
    dropped: Counter,
}

/// A log and its sender. `source` names this run of this builder, so that a batch sent twice is kept once.
pub fn log(channel: Channel, source: String, clock: Clock, dropped: Counter) -> (Log, Sender) {
    let (sender, lines) = mpsc::channel(WAITING);
    let log = Log(Arc::new(Shared { lines: sender, clock, dropped: dropped.clone() }));
    (log, Sender { lines, client: LoggerClient::new(channel), source, dropped })
}

impl Log {
    /// Takes one line; never waits.
    pub fn append(&self, app: &AppName, text: &str) {
        let line = Line {
            app: app.to_string(),
            process: "build".to_owned(),
            at_ms: self.0.clock.now_ms(),
            stream: String::new(),
            text: text.as_bytes().to_vec(),
            id: 0,
        };
        if self.0.lines.try_send(line).is_err() {
            self.0.dropped.add(1);
        }
    }
}

impl Sender {
    /// Sends until `stop`, then what is left, once.
    pub async fn run(mut self, stop: Stop) {
        let mut sequence = 0;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                taken = self.lines.recv_many(&mut batch, BATCH) => if taken == 0 { return },
                () = stop.wait() => return,
            }
            sequence += 1;
            self.send(std::mem::take(&mut batch), sequence, &stop).await;
        }
    }

    async fn send(&mut self, lines: Vec<Line>, sequence: u64, stop: &Stop) {
        let count = lines.len() as u64;
        let request = AppendRequest { lines, source: self.source.clone(), sequence };
        for _ in 0..TRIES {
            let call = self.client.append(request.clone());
            match tokio::time::timeout(TIMEOUT, call).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => tracing::debug!(%error, "the logger did not take build lines"),
                Err(_) => tracing::debug!("the logger did not answer in time"),
            }
            tokio::select! {
                () = stop.wait() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        self.dropped.add(count);
    }
}
