//! Keeps the members of the store in order: a learner that is in step gets its vote.

use std::time::Duration;

use model::node::NodeSpec;
use model::snapshot::Versioned;
use proto::api::StoreMember;
use service::Stop;
use store::{EtcdMember, EtcdMembers, MemberError};

use crate::leader::Leader;

/// How often the members are looked at; a small store is learnt in less.
const EVERY: Duration = Duration::from_secs(1);
/// How long a change that etcd refuses for now is tried: it takes no second member within 5 s of the first.
const BUSY_LIMIT: Duration = Duration::from_secs(12);
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Promotes learners while this controller leads.
pub async fn promote_learners(members: EtcdMembers, leader: Leader, stop: Stop) {
    loop {
        if leader.is_leading()
            && let Err(error) = promote(&members).await
        {
            tracing::debug!(%error, "the members of etcd were not looked at");
        }
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn promote(members: &EtcdMembers) -> Result<(), MemberError> {
    // One that was never started has no name, and etcd 3.4 would promote it all the same.
    let learners = members.list().await?.into_iter();
    for learner in learners.filter(|member| member.is_learner && !member.name.is_empty()) {
        match members.promote(learner.id).await {
            Ok(()) => tracing::info!(member = learner.name, "the store has one more member"),
            Err(MemberError::StillLearning | MemberError::Busy(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes room for a member at an address and says who the members are, as etcd's `--initial-cluster` wants it.
/// What was left there by an earlier try, or by a machine that is gone, is taken out first.
pub async fn admit(members: &EtcdMembers, name: &str, url: &str) -> Result<String, MemberError> {
    when_free(|| try_admit(members, name, url)).await
}

/// Waits a while when the members cannot be changed just now.
async fn when_free<T, Change>(change: impl Fn() -> Change) -> Result<T, MemberError>
where
    Change: Future<Output = Result<T, MemberError>>,
{
    let deadline = tokio::time::Instant::now() + BUSY_LIMIT;
    loop {
        match change().await {
            Err(MemberError::Busy(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            changed => return changed,
        }
    }
}

async fn try_admit(members: &EtcdMembers, name: &str, url: &str) -> Result<String, MemberError> {
    let mut all = members.list().await?;
    let is_here = |urls: &[String]| urls.iter().any(|known| known == url);
    let waits = all.iter().any(|member| is_here(&member.peer_urls) && member.name.is_empty());
    if !waits {
        for old in all.iter().filter(|member| is_here(&member.peer_urls)) {
            members.remove(old.id).await?;
        }
        all = members.add_learner(url).await?.1;
    }
    let listed = all.iter().flat_map(|member| {
        let name = if is_here(&member.peer_urls) { name } else { &member.name };
        member.peer_urls.iter().map(move |url| format!("{name}={url}"))
    });
    Ok(listed.collect::<Vec<_>>().join(","))
}

/// Takes the member of a node out, if there is one. One that never started has no name, but the node's address.
pub async fn dismiss(members: &EtcdMembers, node: &NodeSpec) -> Result<(), MemberError> {
    for member in members.list().await?.iter().filter(|member| is_of(member, node)) {
        if let Err(error) = members.step_aside(member.id).await {
            // Without it changes wait for an election, no more.
            tracing::warn!(node = %node.name, %error, "a leading member did not hand over the lead");
        }
        when_free(|| members.remove(member.id)).await?;
    }
    Ok(())
}

/// The members as the nearest remembers them, each with the node it is on.
pub async fn remembered(
    members: &EtcdMembers,
    nodes: &[Versioned<NodeSpec>],
) -> Result<Vec<StoreMember>, MemberError> {
    let (own, members) = members.remembered().await?;
    let on_node = |member: EtcdMember| {
        let address = address(&member).unwrap_or_default().to_owned();
        let node = nodes.iter().find(|node| is_of(&member, &node.value));
        let node = match node {
            Some(node) => node.value.name.to_string(),
            None if member.name.is_empty() => address.clone(),
            None => member.name,
        };
        StoreMember { node, address, is_here: member.id == own }
    };
    Ok(members.into_iter().map(on_node).collect())
}

fn is_of(member: &EtcdMember, node: &NodeSpec) -> bool {
    if !member.name.is_empty() {
        return member.name == node.name.as_str();
    }
    let host = |address: &str| Some(address.rsplit_once(':')?.0.to_owned());
    let gateway = node.addresses.gateway.as_deref().and_then(host);
    gateway.is_some() && gateway == address(member).and_then(host)
}

/// `host:port` of its peers' door.
fn address(member: &EtcdMember) -> Option<&str> {
    member.peer_urls.first().map(|url| url.split_once("://").map_or(url.as_str(), |it| it.1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::node::{Addresses, Duty};
    use model::time::Time;

    use super::*;

    #[test]
    fn a_member_that_never_started_is_known_by_its_nodes_address() {
        let gateway = Some("10.0.0.2:7400".to_owned());
        let node = NodeSpec {
            name: "n2".parse().unwrap(),
            addresses: Addresses { gateway, ..Addresses::default() },
            labels: BTreeMap::new(),
            duty: Duty::Open,
            joined: Time(1),
            admission: String::new(),
        };
        let is_its = |name: &str, url: &str| {
            let (name, peer_urls) = (name.to_owned(), vec![url.to_owned()]);
            is_of(
                &EtcdMember { id: 1, name, peer_urls, is_learner: true, client_urls: Vec::new() },
                &node,
            )
        };
        assert!(is_its("", "https://10.0.0.2:7405"));
        assert!(is_its("n2", "https://10.0.0.9:7405"));
        assert!(!is_its("n3", "https://10.0.0.2:7405"));
        assert!(!is_its("", "https://10.0.0.20:7405"));
    }
}
