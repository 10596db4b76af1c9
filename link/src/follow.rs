//! One stream of members per gateway: its life shows that the gateway answers, its content who is there.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::gateway::{MemberSet, MembersRequest, gateway_client::GatewayClient};
use service::Stop;
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    Gateways, Members,
    listen::{Listener, Refused},
};

/// Looks after every gateway until `stop`.
pub(crate) async fn follow(gateways: Gateways, stop: Stop) {
    let follower = Follower { gateways: &gateways, openings: AtomicU64::new(0) };
    gateways.listen(stop, &follower).await;
}

struct Follower<'a> {
    gateways: &'a Gateways,
    openings: AtomicU64,
}

impl Listener for Follower<'_> {
    type Item = MemberSet;

    async fn open(&self, channel: Channel) -> Result<Streaming<MemberSet>, Status> {
        Ok(GatewayClient::new(channel).members(MembersRequest {}).await?.into_inner())
    }

    async fn hear(&self, set: MemberSet) -> Result<(), Refused> {
        match Members::parse(&set) {
            Ok(members) => self.gateways.learn(members),
            Err(error) => {
                tracing::error!(%error, "a list of members cannot be read; the last one holds");
            }
        }
        Ok(())
    }

    fn opened(&self, address: &str, is_open: bool) {
        let opening = is_open.then(|| self.openings.fetch_add(1, Ordering::Relaxed));
        if opening.is_none() {
            tracing::info!(%address, "a gateway does not answer any more");
        }
        if let Some(door) = self.gateways.doors().get_mut(address) {
            door.open_since = opening;
        }
    }
}

impl Gateways {
    /// Takes a list of members, if it is news.
    fn learn(&self, members: Members) {
        let is_new = self.0.members.send_if_modified(|known| {
            let is_new = members.is_newer_than(known);
            if is_new {
                *known = members;
            }
            is_new
        });
        if is_new {
            self.open_doors();
        }
    }
}

/// Keeps the latest members on disk until `stop`.
pub(crate) async fn keep(gateways: Gateways, stop: Stop) {
    let mut members = gateways.members();
    loop {
        tokio::select! {
            () = stop.wait() => return,
            changed = members.changed() => if changed.is_err() { return },
        }
        let latest = members.borrow_and_update().clone();
        let folder = gateways.0.config.folder.clone();
        match tokio::task::spawn_blocking(move || latest.keep(&folder)).await {
            Ok(Ok(())) => {}
            // It goes on with them; only a restart without any gateway of the settings would miss them.
            Ok(Err(error)) => tracing::error!(%error, "the members were not kept"),
            Err(error) => tracing::error!(%error, "the members were not kept"),
        }
    }
}
