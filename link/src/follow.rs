//! One stream of members per gateway: its life shows that the gateway answers, its content who is there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::gateway::{MemberSet, MembersRequest, gateway_client::GatewayClient};
use service::Stop;
use tonic::transport::Channel;

use crate::{Gateways, Members};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(3);

/// Looks after every gateway until `stop`.
pub(crate) async fn follow(gateways: Gateways, stop: Stop) {
    let openings = AtomicU64::new(0);
    let (gateways, openings) = (&gateways, &openings);
    gateways.with_each(stop, |channel| follow_one(gateways, openings, channel)).await;
}

async fn follow_one(
    gateways: &Gateways,
    openings: &AtomicU64,
    (address, channel): (String, Channel),
) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        match open(channel.clone()).await {
            Ok(mut sets) => {
                let opening = openings.fetch_add(1, Ordering::Relaxed);
                gateways.mark(&address, Some(opening));
                backoff = FIRST_BACKOFF;
                let ended = loop {
                    match sets.message().await {
                        Ok(Some(set)) => gateways.take(&set).await,
                        Ok(None) => break "it closed the stream".to_owned(),
                        Err(status) => break status.message().to_owned(),
                    }
                };
                gateways.mark(&address, None);
                tracing::info!(%address, reason = ended, "a gateway does not answer any more");
            }
            Err(status) => {
                tracing::debug!(%address, reason = status.message(), "a gateway does not answer");
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

async fn open(channel: Channel) -> Result<tonic::Streaming<MemberSet>, tonic::Status> {
    Ok(GatewayClient::new(channel).members(MembersRequest {}).await?.into_inner())
}

impl Gateways {
    fn mark(&self, address: &str, open_since: Option<u64>) {
        if let Some(door) = self.doors().get_mut(address) {
            door.open_since = open_since;
        }
    }

    /// Takes a list of members, if it is news.
    async fn take(&self, set: &MemberSet) {
        let members = match Members::parse(set) {
            Ok(members) => members,
            Err(error) => {
                tracing::error!(%error, "a list of members cannot be read; the last one holds");
                return;
            }
        };
        let is_new = self.0.members.send_if_modified(|known| {
            let is_new = members.is_newer_than(known);
            if is_new {
                known.clone_from(&members);
            }
            is_new
        });
        if !is_new {
            return;
        }
        if let Err(error) = self.open_doors() {
            tracing::error!(%error, "a gateway's address cannot be used");
        }
        let folder = self.0.config.folder.clone();
        let kept = tokio::task::spawn_blocking(move || members.keep(&folder)).await;
        // It goes on with them; only a restart without any gateway of the settings would miss them.
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the members were not kept"),
            Err(error) => tracing::error!(%error, "the members were not kept"),
        }
    }
}
