//! A second node for every line: what this logger takes, another one keeps too, for the time this one does not answer.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use link::Members;
use proto::logger::logger_client::LoggerClient;
use service::{Clock, Counter, Identity, Metrics};
use tokio::{sync::watch, time::timeout};
use tonic::transport::Channel;

use crate::intake::Batch;

/// How long another logger may take to store a batch.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// One that did not is left alone for this long, so that senders do not wait for it each time.
const REST: Duration = Duration::from_secs(10);

/// The way to the other nodes' loggers.
pub struct Shipping {
    identity: Identity,
    members: watch::Receiver<Members>,
    clock: Clock,
    peers: Mutex<BTreeMap<String, Peer>>,
    /// Whether the last batch found no other node; told once.
    is_alone: AtomicBool,
    unshipped: Counter,
}

struct Peer {
    channel: Channel,
    rests_since: Option<Duration>,
}

impl Shipping {
    /// To those of these members that `identity` is not.
    pub fn new(
        identity: Identity,
        members: watch::Receiver<Members>,
        clock: Clock,
        metrics: &Metrics,
    ) -> Shipping {
        let unshipped =
            metrics.counter("logger_unshipped_batches_total", "Batches no other node has.");
        let (peers, is_alone) = (Mutex::default(), AtomicBool::new(false));
        Shipping { identity, members, clock, peers, is_alone, unshipped }
    }

    /// Whether a node is in the cluster.
    pub fn is_member(&self, node: &str) -> bool {
        self.members.borrow().nodes.iter().any(|member| member.name.as_str() == node)
    }

    /// Returns when one other node has stored the batch, or none of those that are there does.
    pub async fn ship(&self, batch: Batch) {
        let others = self.others();
        if others.is_empty() {
            return;
        }
        let request = batch.into_ship();
        for address in others {
            let Some(channel) = self.channel(&address) else { continue };
            let mut client = LoggerClient::new(channel);
            match timeout(ANSWER_LIMIT, client.ship(request.clone())).await {
                Ok(Ok(_)) => {
                    if self.is_alone.swap(false, Ordering::Relaxed) {
                        tracing::info!("lines are on two nodes again");
                    }
                    return;
                }
                Ok(Err(status)) => tracing::debug!(address, %status, "a batch was not shipped"),
                Err(_) => tracing::debug!(address, "a batch was not shipped in time"),
            }
            self.let_rest(&address);
        }
        self.unshipped.add(1);
        if !self.is_alone.swap(true, Ordering::Relaxed) {
            tracing::warn!("lines are on this node only: no other logger takes them");
        }
    }

    /// The others' addresses, beginning with the next one in the order of names, so that each has one that ships to it.
    fn others(&self) -> Vec<String> {
        let own = &self.identity.own().node;
        let members = self.members.borrow();
        let (before, after): (Vec<_>, Vec<_>) = members
            .nodes
            .iter()
            .filter(|member| member.name.as_str() != own)
            .partition(|member| member.name.as_str() < own.as_str());
        let others = after.into_iter().chain(before);
        others.map(|member| member.addresses.logger.clone()).collect()
    }

    /// A channel, unless it rests.
    fn channel(&self, address: &str) -> Option<Channel> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(address) {
            let rests = peer.rests_since.is_some_and(|since| self.clock.since(since) < REST);
            return if rests { None } else { Some(peer.channel.clone()) };
        }
        let opened = service::channel(&self.identity, address, "logger");
        let channel = opened.inspect_err(|error| {
            tracing::error!(address, %error, "a logger's address cannot be used");
        });
        let channel = channel.ok()?;
        let peer = Peer { channel: channel.clone(), rests_since: None };
        peers.insert(address.to_owned(), peer);
        Some(channel)
    }

    fn let_rest(&self, address: &str) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get_mut(address) {
            peer.rests_since = Some(self.clock.monotonic());
        }
    }
}
