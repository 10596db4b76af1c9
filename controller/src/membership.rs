//! Keeps the members of the store in order: a learner that is in step gets its vote.

use std::time::Duration;

use service::Stop;
use store::{EtcdMembers, MemberError};

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
    let deadline = tokio::time::Instant::now() + BUSY_LIMIT;
    loop {
        match try_admit(members, name, url).await {
            Err(MemberError::Busy(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            admitted => return admitted,
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

/// Takes the member of this name out, if there is one.
pub async fn dismiss(members: &EtcdMembers, name: &str) -> Result<(), MemberError> {
    for member in members.list().await?.iter().filter(|member| member.name == name) {
        members.remove(member.id).await?;
    }
    Ok(())
}
