//! Streams that gateways keep open to us: one to each, for ever opened anew, and what comes on them handed over.

use std::time::Duration;

use service::Stop;
use tonic::{Code, Status, Streaming, transport::Channel};

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

    /// What the gateway tells is taken from now on, or is not any more for this reason.
    fn answers(&self, _address: &str, _answers: Result<(), Silence>) {}
}

/// Why a gateway is not listened to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It does not answer.
    Silent,
    /// It does not let this node in, or tells what must not be obeyed.
    Refused(String),
}

/// What was heard cannot be taken now, and why; the listener has told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl Gateways {
    /// Keeps a stream to every gateway open until `stop`.
    pub async fn listen(&self, stop: Stop, listener: &impl Listener) {
        self.with_each(stop, |(address, channel)| listen_to(listener, address, channel)).await;
    }
}

async fn listen_to(listener: &impl Listener, address: String, channel: Channel) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let silence = match listener.open(channel.clone()).await {
            Ok(stream) => match hear_all(listener, stream, &address).await {
                Ok(()) => {
                    backoff = FIRST_BACKOFF;
                    Silence::Silent
                }
                Err(Refused(why)) => Silence::Refused(why),
            },
            Err(status) => {
                let reason = status.message();
                tracing::debug!(%address, reason, "a gateway does not answer");
                match status.code() {
                    Code::PermissionDenied => Silence::Refused(reason.to_owned()),
                    _ => Silence::Silent,
                }
            }
        };
        listener.answers(&address, Err(silence));
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
            Ok(Some(item)) => {
                listener.hear(item).await?;
                listener.answers(address, Ok(()));
            }
            Ok(None) => break "it closed the stream".to_owned(),
            Err(status) => break status.message().to_owned(),
        }
    };
    tracing::debug!(%address, reason, "a stream ended");
    Ok(())
}
