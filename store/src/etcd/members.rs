//! Who is a member of the etcd cluster, and how that changes: one at a time, a new member learning before it counts.

use std::sync::PoisonError;
use std::time::Duration;

use etcd_client::{ClusterClient, Error, Member, MemberAddOptions};

use super::{Clients, EtcdOptions, Shared, connect, now, settings};
use crate::StoreError;
use crate::etcd::errors::{read_error, write_error};

/// How long a change of the members may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The members of an etcd cluster. Cheap to clone.
#[derive(Clone)]
pub struct EtcdMembers {
    clients: Shared,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdMember {
    /// Given by etcd; another one after each adding.
    pub id: u64,
    /// Given by itself; empty until it was started for the first time.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// It follows, but has no vote yet.
    pub is_learner: bool,
}

/// Why the members did not change.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MemberError {
    /// One change at a time, and only while all members are well.
    #[error("change the members of etcd: it refuses for now ({0})")]
    Busy(String),
    /// A learner is not in step with the leader yet.
    #[error("promote a member of etcd: it is still learning")]
    StillLearning,
    /// There is no such member.
    #[error("change the members of etcd: there is no such member")]
    Unknown,
    /// etcd did not answer, or not as it should.
    #[error("change the members of etcd")]
    Store(#[from] StoreError),
}

impl EtcdMembers {
    pub(super) fn new(clients: Shared) -> EtcdMembers {
        EtcdMembers { clients }
    }

    /// Connects anew, with certificates that were renewed: itself and the store it came from. What is under way goes on.
    pub async fn reconnect(&self, options: &EtcdOptions) -> Result<(), StoreError> {
        let clients = Clients::of(options).await?;
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(())
    }

    fn client(&self) -> ClusterClient {
        now(&self.clients).members
    }

    /// All of them as the nearest remembers them, with or without a quorum; and which of them it is itself. (From etcd 3.5
    /// on a quorum is needed here, too.)
    pub async fn remembered(&self) -> Result<(u64, Vec<EtcdMember>), MemberError> {
        let mut client = now(&self.clients).nearest_members;
        let answer = within(client.member_list()).await?.map_err(read_error)?;
        let own = answer.header().map(|header| header.member_id()).ok_or(MemberError::Unknown)?;
        Ok((own, answer.members().iter().map(member).collect()))
    }

    /// All of them.
    pub async fn list(&self) -> Result<Vec<EtcdMember>, MemberError> {
        let mut client = self.client();
        let answer = within(client.member_list()).await?.map_err(read_error)?;
        Ok(answer.members().iter().map(member).collect())
    }

    /// Adds a member that learns first. Gives its id and all members, itself with an empty name.
    pub async fn add_learner(&self, peer_url: &str) -> Result<(u64, Vec<EtcdMember>), MemberError> {
        let mut client = self.client();
        let options = MemberAddOptions::new().with_is_learner();
        let added = within(client.member_add([peer_url.to_owned()], Some(options))).await?;
        let added = added.map_err(changed)?;
        let id = added.member().map(Member::id).ok_or(MemberError::Unknown)?;
        Ok((id, added.member_list().iter().map(member).collect()))
    }

    /// Gives a learner its vote.
    pub async fn promote(&self, id: u64) -> Result<(), MemberError> {
        let mut client = self.client();
        within(client.member_promote(id)).await?.map_err(changed)?;
        Ok(())
    }

    /// Has a member that leads hand the lead to another one, so that nothing waits for an election when it goes.
    pub async fn step_aside(&self, id: u64) -> Result<(), MemberError> {
        let Clients { mut maintenance, options, .. } = now(&self.clients);
        let leader = within(maintenance.status()).await?.map_err(read_error)?.leader();
        if leader != id {
            return Ok(());
        }
        let all = self.list().await?;
        let own = all.iter().find(|member| member.id == id).ok_or(MemberError::Unknown)?;
        // Only the leader itself can do it.
        let settings = settings(&options).with_require_leader(true);
        let mut client = connect(&own.client_urls, settings).await?.maintenance_client();
        let mut moved = Err(MemberError::Unknown);
        for other in all.iter().filter(|member| member.id != id && !member.is_learner) {
            moved = match within(client.move_leader(other.id)).await? {
                Ok(_) => return Ok(()),
                Err(error) => Err(changed(error)),
            };
        }
        moved
    }

    /// Takes a member out, alive or not.
    pub async fn remove(&self, id: u64) -> Result<(), MemberError> {
        let mut client = self.client();
        within(client.member_remove(id)).await?.map_err(changed)?;
        Ok(())
    }
}

async fn within<T>(call: impl Future<Output = T>) -> Result<T, MemberError> {
    let answer = tokio::time::timeout(DEADLINE, call).await;
    Ok(answer.map_err(|_| StoreError::TimedOut(DEADLINE))?)
}

fn member(member: &Member) -> EtcdMember {
    EtcdMember {
        id: member.id(),
        name: member.name().to_owned(),
        peer_urls: member.peer_urls().to_vec(),
        client_urls: member.client_urls().to_vec(),
        is_learner: member.is_learner(),
    }
}

fn changed(error: Error) -> MemberError {
    if let Error::GRpcStatus(status) = &error
        && let Some(understood) = understood(status.message())
    {
        return understood;
    }
    write_error(error).into()
}

/// etcd's words are part of its API: its own client tells them apart the same way.
fn understood(text: &str) -> Option<MemberError> {
    if text.contains("in sync with leader") {
        return Some(MemberError::StillLearning);
    }
    if text.contains("member not found") {
        return Some(MemberError::Unknown);
    }
    let refusals = ["unhealthy cluster", "too many learner", "re-configuration failed"];
    let is_busy = refusals.iter().any(|refusal| text.contains(refusal));
    is_busy.then(|| MemberError::Busy(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_words_are_understood() {
        for busy in ["unhealthy cluster", "too many learner members in cluster"] {
            let understood = understood(&format!("etcdserver: {busy}"));
            assert!(matches!(understood, Some(MemberError::Busy(_))), "{busy}");
        }
        let text = "etcdserver: can only promote a learner member which is in sync with leader";
        assert!(matches!(understood(text), Some(MemberError::StillLearning)));
        let text = "etcdserver: member not found";
        assert!(matches!(understood(text), Some(MemberError::Unknown)));
        assert!(understood("etcdserver: anything else").is_none());
    }
}
