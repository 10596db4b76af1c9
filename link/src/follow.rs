//! One stream of members per gateway: its life shows that the gateway answers, its content who is there.

use model::incarnation::Refusal;
use proto::gateway::{MemberSet, MembersRequest, gateway_client::GatewayClient};
use service::Stop;
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    DoorState, Gateways, Members, last_place,
    listen::{Listener, Refused, Silence},
};

/// Looks after every gateway until `stop`.
pub(crate) async fn follow(gateways: Gateways, stop: Stop) {
    gateways.listen(stop, &Follower { gateways: &gateways }).await;
}

struct Follower<'a> {
    gateways: &'a Gateways,
}

impl Listener for Follower<'_> {
    type Item = MemberSet;

    async fn open(&self, channel: Channel) -> Result<Streaming<MemberSet>, Status> {
        Ok(GatewayClient::new(channel).members(MembersRequest {}).await?.into_inner())
    }

    async fn hear(&self, set: MemberSet) -> Result<(), Refused> {
        match Members::parse(&set) {
            Ok(members) => {
                self.gateways.learn(members).map_err(|refusal| Refused(refusal.to_string()))
            }
            Err(error) => {
                tracing::error!(%error, "a list of members cannot be read; the last one holds");
                Ok(())
            }
        }
    }

    fn answers(&self, address: &str, answers: Result<(), Silence>) {
        let mut doors = self.gateways.doors();
        let since = last_place(&doors) + 1;
        let Some(door) = doors.get_mut(address) else { return };
        let state = match (&door.state, answers) {
            (DoorState::Open { .. }, Ok(())) => return,
            (_, Ok(())) => DoorState::Open { since },
            (_, Err(silence)) => DoorState::Closed(silence),
        };
        if door.state == state {
            return;
        }
        match &state {
            DoorState::Open { .. } => {}
            DoorState::Closed(Silence::Silent) => {
                tracing::info!(%address, "a gateway does not answer any more");
            }
            DoorState::Closed(Silence::Refused(why)) => {
                tracing::error!(%address, why, "a controller is not listened to");
            }
        }
        door.state = state;
    }
}

impl Gateways {
    /// Takes a list of members, if it is news. Refused: its controller serves an earlier life of the store, or another
    /// cluster's.
    fn learn(&self, members: Members) -> Result<(), Refusal> {
        let mut heard = Ok(false);
        let is_new = self.0.members.send_if_modified(|known| {
            heard = members.is_news_after(known);
            let is_new = heard == Ok(true);
            if is_new {
                *known = members;
            }
            is_new
        });
        if is_new {
            self.open_doors();
        }
        heard.map(|_| ())
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
