//! Streams that gateways keep open to us: one to each, for ever opened anew, and what comes on them handed over.

use std::time::Duration;

use service::Stop;
use tonic::{Status, Streaming, transport::Channel};

use crate::Gateways;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(3);

/// What a part listens for, and what it does with what it hears.
pub trait Listener: Sync {
    /// What comes on the stream.
    type Item: Send;

    /// Asks a gateway for the stream.
    fn open(
        &self,
        channel: Channel,
    ) -> impl Future<Output = Result<Streaming<Self::Item>, Status>> + Send;

    /// Takes what came. Refused: the stream is opened anew after a pause, so that it is told once more.
    fn hear(&self, item: Self::Item) -> impl Future<Output = Result<(), Refused>> + Send;

    /// The stream of this gateway was opened, or has ended.
    fn opened(&self, _address: &str, _is_open: bool) {}
}

/// What was heard cannot be taken now; the listener has told why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Gateways {
    /// Keeps a stream to every gateway open until `stop`.
    pub async fn listen(&self, stop: Stop, listener: &impl Listener) {
        self.with_each(stop, |(address, channel)| listen_to(listener, address, channel)).await;
    }
}

async fn listen_to(listener: &impl Listener, address: String, channel: Channel) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        match listener.open(channel.clone()).await {
            Ok(stream) => {
                listener.opened(&address, true);
                let heard = hear_all(listener, stream, &address).await;
                listener.opened(&address, false);
                if heard.is_ok() {
                    backoff = FIRST_BACKOFF;
                }
            }
            Err(status) => {
                tracing::debug!(%address, reason = status.message(), "a gateway does not answer");
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

async fn hear_all<L: Listener>(
    listener: &L,
    mut stream: Streaming<L::Item>,
    address: &str,
) -> Result<(), Refused> {
    let reason = loop {
        match stream.message().await {
            Ok(Some(item)) => listener.hear(item).await?,
            Ok(None) => break "it closed the stream".to_owned(),
            Err(status) => break status.message().to_owned(),
        }
    };
    tracing::debug!(%address, reason, "a stream ended");
    Ok(())
}
