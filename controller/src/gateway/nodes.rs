//! Agents: the slice of units they shall run out, the truth about them in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, stream};
use model::incarnation::Incarnation;
use model::name::{NodeName, UnitId};
use model::node::Node;
use model::time::Time;
use model::unit::UnitStatus;
use proto::gateway as wire;
use service::{Clock, Peer, Wake};
use tonic::Status;

use super::malformed;
use crate::gateway::slice::Slice;
use crate::heard::Heard;
use crate::seal::Seal;
use crate::view::ViewReceiver;

/// What agents call.
pub struct Nodes {
    /// Where the units come from. Its first value already shows the store as it was read.
    pub view: ViewReceiver,
    /// Where reports go.
    pub heard: Heard,
    /// Told of news.
    pub wake: Wake,
    /// The time.
    pub clock: Clock,
    /// Opens configurations.
    pub seal: Arc<Seal>,
    /// The life of this store.
    pub incarnation: Incarnation,
    /// Numbers the sets.
    pub versions: Versions,
}

/// Gives each set a version above all before it, across restarts too as long as the clock is not set back.
#[derive(Clone, Default)]
pub struct Versions(Arc<AtomicU64>);

impl Versions {
    fn next(&self, now_ms: u64) -> u64 {
        let above = |last: u64| (last + 1).max(now_ms);
        let last =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(above(last)));
        above(last.unwrap_or_else(|last| last))
    }
}

impl Nodes {
    /// The node's slice, and each one after it.
    pub fn assignments(
        &self,
        node: NodeName,
    ) -> impl Stream<Item = Result<wire::AssignmentSet, Status>> + Send + use<> {
        let mut view = self.view.clone();
        view.mark_changed();
        let orders = Orders {
            slice: Slice::new(node, self.seal.clone()),
            view,
            clock: self.clock.clone(),
            incarnation: self.incarnation.clone(),
            versions: self.versions.clone(),
            epoch: None,
        };
        stream::unfold(orders, |mut orders| async {
            let set = orders.next().await?;
            Some((Ok(set), orders))
        })
    }

    /// Takes a report.
    pub fn report(&self, peer: &Peer, report: &wire::NodeReport) -> Result<(), Status> {
        let node: Node =
            serde_json::from_str(&report.node_json).map_err(|error| malformed("node", error))?;
        if node.name.as_str() != peer.node {
            let refusal = format!("{peer} may not speak for node `{}`", node.name);
            return Err(Status::permission_denied(refusal));
        }
        let specs = &self.view.borrow().snapshot.specs;
        if specs.get(&node.name).is_some_and(|spec| !spec.value.is_member()) {
            let refusal = format!("node `{}` was removed from the cluster", node.name);
            return Err(Status::permission_denied(refusal));
        }
        let node = received(node, Time(self.clock.now_ms()));
        if self.heard.node(node, statuses(&report.statuses_json)?) {
            self.wake.kick();
        }
        Ok(())
    }
}

/// A report comes with the time of the sender's clock; an agent of an earlier version sends none.
fn received(node: Node, now: Time) -> Node {
    let ahead = |sent: Time| sent.0.cast_signed().saturating_sub(now.0.cast_signed());
    let clock_ahead_ms = if node.heard == Time(0) { 0 } else { ahead(node.heard) };
    Node { heard: now, clock_ahead_ms, ..node }
}

fn statuses<'a>(
    json: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<BTreeMap<UnitId, UnitStatus>, Status> {
    let read = |(unit, status): (&String, &String)| {
        let unit = unit.parse().map_err(|error| malformed("unit", error))?;
        let status = serde_json::from_str(status).map_err(|error| malformed("status", error))?;
        Ok((unit, status))
    };
    json.into_iter().map(read).collect()
}

/// One agent's stream.
struct Orders {
    slice: Slice,
    view: ViewReceiver,
    clock: Clock,
    incarnation: Incarnation,
    versions: Versions,
    /// The lead of the last set.
    epoch: Option<u64>,
}

impl Orders {
    /// The next set that differs from the last or is the first of a lead; none when there will be no more.
    async fn next(&mut self) -> Option<wire::AssignmentSet> {
        loop {
            self.view.changed().await.ok()?;
            let (snapshot, lead) = {
                let view = self.view.borrow_and_update();
                (view.snapshot.clone(), view.lead.clone())
            };
            let lead = lead.filter(|lead| lead.is_for(self.slice.node()));
            let Some(leading) = lead.map(|lead| lead.epoch) else { continue };
            if self.epoch.replace(leading) != Some(leading) {
                self.slice.forget();
            }
            match self.slice.follow(&snapshot) {
                Ok(None) => {}
                Ok(Some(units)) => {
                    let version = self.versions.next(self.clock.now_ms());
                    let incarnation = self.incarnation.to_string();
                    return Some(wire::AssignmentSet {
                        version,
                        incarnation,
                        units,
                        epoch: leading,
                    });
                }
                // The agent keeps the orders it has.
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::error!(node = %self.slice.node(), error, "orders were not sent");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};
    use tokio::sync::watch;

    use super::*;
    use crate::view::{Lead, View};

    #[tokio::test]
    async fn a_regents_orders_go_to_its_own_node_alone() {
        let lead = Some(Lead { epoch: 7, only: Some("n1".parse().unwrap()) });
        let (_sender, view) = watch::channel(View { lead, ..View::default() });
        let clock = Clock::steady_from(0);
        let nodes = Nodes {
            view,
            heard: Heard::since(Time(0)),
            wake: Wake::new(),
            clock,
            seal: Arc::new(Seal::new(&[7; 32])),
            incarnation: "one".to_owned().into(),
            versions: Versions::default(),
        };
        let first = |node: &str| {
            let mut sets = Box::pin(nodes.assignments(node.parse().unwrap()));
            sets.next().now_or_never().flatten()
        };
        assert_eq!(first("n1").unwrap().unwrap().epoch, 7);
        assert!(first("n2").is_none());
    }

    #[test]
    fn versions_grow_even_when_the_clock_is_set_back() {
        let versions = Versions::default();
        let given = [1_000, 1_000, 5_000, 10].map(|now| versions.next(now));
        assert_eq!(given, [1_000, 1_001, 5_000, 5_001]);
    }
}
