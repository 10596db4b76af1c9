//! What one logger has of an app up to now, read with a limit on time and memory.

use std::collections::VecDeque;
use std::time::Duration;

use proto::logger::logger_client::LoggerClient;
use proto::logger::{Line, LineBatch, OriginsRequest, ReadRequest};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// How long a logger may be silent before it is left out.
const SILENCE_LIMIT: Duration = Duration::from_secs(2);
/// The text of one logger that is held at once; older lines are left out.
const MAX_BYTES: usize = 32 << 20;

/// The lines up to now.
#[derive(Debug, Default)]
pub struct History {
    /// Oldest first.
    pub lines: VecDeque<Line>,
    /// Lines that were left out.
    pub dropped: u64,
    /// Those to come, if they are followed.
    pub rest: Option<Streaming<LineBatch>>,
    /// Whether it broke off before its end.
    pub is_broken: bool,
}

/// Reads what is there. A logger that gives nothing in time is an error.
pub async fn read(
    mut client: LoggerClient<Channel>,
    request: ReadRequest,
) -> Result<History, Status> {
    let wanted = match request.lines {
        0 => usize::MAX,
        lines => lines as usize,
    };
    let mut stream = within(client.read(request)).await?.into_inner();
    let mut history = History::default();
    let mut bytes = 0;
    loop {
        let batch = match within(stream.message()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(history),
            Err(status) => {
                tracing::warn!(%status, "a logger broke off");
                history.is_broken = true;
                return Ok(history);
            }
        };
        history.dropped += batch.dropped;
        for line in batch.lines {
            bytes += line.text.len();
            history.lines.push_back(line);
            while history.lines.len() > wanted || bytes > MAX_BYTES {
                let oldest = history.lines.pop_front().expect("one was just added");
                bytes -= oldest.text.len();
                history.dropped += 1;
            }
        }
        if batch.caught_up {
            history.rest = Some(stream);
            return Ok(history);
        }
    }
}

/// Of which nodes a logger keeps lines of an app; none where it does not say.
pub async fn origins(mut client: LoggerClient<Channel>, app: &str) -> Vec<String> {
    let answer = within(client.origins(OriginsRequest { app: app.to_owned() })).await;
    answer.map(|answer| answer.into_inner().nodes).unwrap_or_default()
}

/// As the call itself, or late.
pub async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("no answer in time");
    tokio::time::timeout(SILENCE_LIMIT, call).await.map_err(late)?
}
