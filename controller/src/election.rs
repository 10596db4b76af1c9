//! Who takes the lead, and when: the others watch the leader's signs of life by their own clocks.
//!
//! ```text
//!   leads ── beats every 0.5 s ── no beat succeeded for 2 s ──► leads no more, whatever the store says later
//!   others ── see the same signs for 3.5 s of their own time ──► take the lead, if the signs are still the same
//! ```
//!
//! No lease and no wall clock: 2 s of the old leader end before 3.5 s of anybody who saw its last beat, however the
//! store delays either. The others' clocks follow the leader's beats, so that deadlines mean the same to the next leader
//! however wrong its machine's clock is. What a cut-off leader still decides is refused by the guard on its epoch.

use std::time::Duration;

use service::{Clock, Stop};

use crate::leader::{Leader, LeaderError, Signs};
use crate::records::CommitError;

/// How often the leader beats and the others look.
const EVERY: Duration = Duration::from_millis(500);
/// Without a beat for this long, the leader leads no more.
const STEP_DOWN_AFTER: Duration = Duration::from_secs(2);
/// Signs that stay the same for this long are those of a dead leader.
const TAKE_AFTER: Duration = Duration::from_millis(3_500);

/// How a controller comes to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rivals {
    /// The store is this controller's own: it leads at once and needs to show it to nobody.
    None,
    /// Others may lead.
    Possible,
}

/// Leads, or waits to, until `stop`.
pub async fn campaign(leader: Leader, rivals: Rivals, clock: Clock, stop: Stop) {
    let mut watched: Option<(Signs, Duration)> = None;
    loop {
        if let Some(proven) = watch(&leader, rivals, &clock, &mut watched).await {
            match rivals {
                Rivals::None => lead_alone(&leader, &stop).await,
                Rivals::Possible => lead(&leader, &clock, &stop, proven).await,
            }
            watched = None;
        }
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    if leader.is_leading()
        && let Err(error) = leader.resign().await
    {
        tracing::warn!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "the lead was not given up; another takes it in a moment"
        );
    }
}

async fn lead_alone(leader: &Leader, stop: &Stop) {
    let mut leading = leader.leading();
    tokio::select! {
        biased;
        () = stop.wait() => {}
        _ = leading.wait_for(|leads| !leads) => {}
    }
}

/// Looks once and takes the lead when it is free. Gives the time from which on it is proven.
async fn watch(
    leader: &Leader,
    rivals: Rivals,
    clock: &Clock,
    watched: &mut Option<(Signs, Duration)>,
) -> Option<Duration> {
    let signs = match leader.signs().await {
        Ok(signs) => signs,
        Err(error) => {
            tracing::debug!(%error, "the leader's signs cannot be read");
            return None;
        }
    };
    let now = clock.monotonic();
    let since = match watched {
        Some((known, since)) if *known == signs => *since,
        Some(_) => {
            // A fresh beat: the cluster's time goes on evenly from one leader to the next.
            signs.now_ms.into_iter().for_each(|now_ms| clock.follow(now_ms));
            now
        }
        None => now,
    };
    *watched = Some((signs, since));
    let is_free = rivals == Rivals::None || !signs.has_leader() || clock.since(since) >= TAKE_AFTER;
    if !is_free {
        return None;
    }
    match leader.take(signs).await {
        Ok(()) => {
            tracing::info!(epoch = leader.revision(), "this controller leads");
            return Some(now);
        }
        Err(LeaderError::Commit(CommitError::Conflict)) => {}
        Err(error) => {
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "the lead could not be taken"
            );
        }
    }
    None
}

/// Beats until it leads no more or shall stop.
async fn lead(leader: &Leader, clock: &Clock, stop: &Stop, mut proven: Duration) {
    let mut leading = leader.leading();
    loop {
        let (sent, epoch) = (clock.monotonic(), leader.revision());
        let left = STEP_DOWN_AFTER.saturating_sub(clock.since(proven));
        match tokio::time::timeout(left, leader.beat(clock.now_ms())).await {
            Ok(Ok(())) => proven = sent,
            // It was sent before our own epoch was written anew.
            Ok(Err(CommitError::Conflict)) if leader.revision() != epoch => {}
            Ok(Err(CommitError::Conflict)) => {
                tracing::warn!("another controller leads");
                return leader.step_down();
            }
            Ok(Err(error)) => tracing::debug!(%error, "a beat was not written"),
            Err(_) => {}
        }
        if clock.since(proven) >= STEP_DOWN_AFTER {
            tracing::warn!("the store takes no beats; this controller leads no more");
            return leader.step_down();
        }
        tokio::select! {
            biased;
            () = stop.wait() => return,
            _ = leading.wait_for(|leads| !leads) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests;
