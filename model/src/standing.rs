//! Whether a node is there, as far as its silence and what its peers see of it tell.
//!
//! ```text
//!   heard ──3 s──► suspect ──5 s──► do its peers see it?
//!                                     nobody does ─────────────► lost
//!                                     its agent refuses ──60 s─► lost   (the machine lives: its units may be well)
//!                                     somebody reaches it ─30 s► lost   (only the way to the controllers is cut)
//! ```
//!
//! A wrong guess costs an extra copy of a unit that may run twice. Units that may not have rules of their own.

use crate::name::NodeName;
use crate::node::{SUSPECT_AFTER_MS, Sight};
use crate::snapshot::Snapshot;
use crate::time::Time;

/// A silent node that no peer sees is lost after this long.
pub const LOST_AFTER_MS: u64 = 5_000;
/// One that a peer still reaches, after this long.
pub const LOST_ALTHOUGH_REACHED_AFTER_MS: u64 = 30_000;
/// One whose machine still answers for its agent, after this long.
pub const LOST_ALTHOUGH_ALIVE_AFTER_MS: u64 = 60_000;

/// The moments of a silence at which it may come to mean something else.
pub const MOMENTS_MS: [u64; 4] =
    [SUSPECT_AFTER_MS, LOST_AFTER_MS, LOST_ALTHOUGH_REACHED_AFTER_MS, LOST_ALTHOUGH_ALIVE_AFTER_MS];

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Heard of late.
    Here,
    /// Silent, but not for long, or seen by a peer: its units stay its own, and it gets no new ones.
    Suspect,
    /// Its units are made up for elsewhere.
    Lost {
        /// When it was last heard.
        heard: Time,
    },
}

impl Standing {
    /// Whether its units are made up for elsewhere.
    pub fn is_lost(self) -> bool {
        matches!(self, Standing::Lost { .. })
    }
}

/// How a node stands now. One never heard counts as heard when listening began.
pub fn standing(snapshot: &Snapshot, node: &NodeName, now: Time) -> Standing {
    let heard = snapshot.nodes.get(node).map_or(snapshot.listening_since, |node| node.heard);
    let silent_ms = now.since_ms(heard);
    if silent_ms < SUSPECT_AFTER_MS {
        return Standing::Here;
    }
    let limit_ms = match best_sight(snapshot, node, now) {
        Sight::Silent => LOST_AFTER_MS,
        Sight::Reached => LOST_ALTHOUGH_REACHED_AFTER_MS,
        Sight::Refused => LOST_ALTHOUGH_ALIVE_AFTER_MS,
    };
    if silent_ms < limit_ms { Standing::Suspect } else { Standing::Lost { heard } }
}

/// What the peers that are here themselves see of it; reached by any counts most.
pub fn best_sight(snapshot: &Snapshot, node: &NodeName, now: Time) -> Sight {
    let peers = snapshot
        .nodes
        .values()
        .filter(|peer| peer.name != *node && now.since_ms(peer.heard) < SUSPECT_AFTER_MS);
    let mut best = Sight::Silent;
    for sight in peers.filter_map(|peer| peer.sights.get(node)) {
        match sight {
            Sight::Reached => return Sight::Reached,
            Sight::Refused => best = Sight::Refused,
            Sight::Silent => {}
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::node::{Addresses, Node};

    fn node(name: &str, heard: u64, sights: &[(&str, Sight)]) -> (NodeName, Node) {
        let node = Node {
            name: name.parse().unwrap(),
            addresses: Addresses::default(),
            memory_bytes: 0,
            sessions_bytes: 0,
            cpu_millis: 0,
            disk_free_bytes: 0,
            version: String::new(),
            clock_ahead_ms: 0,
            trouble: None,
            sights: sights.iter().map(|(name, sight)| (name.parse().unwrap(), *sight)).collect(),
            left_running: BTreeMap::new(),
            heard: Time(heard),
        };
        (node.name.clone(), node)
    }

    fn at(now: u64, peer_sees: Sight) -> Standing {
        let nodes: BTreeMap<NodeName, Node> =
            [node("n1", 0, &[]), node("n2", now, &[("n1", peer_sees)])].into();
        let snapshot = Snapshot { nodes, ..Snapshot::default() };
        standing(&snapshot, &"n1".parse().unwrap(), Time(now))
    }

    #[test]
    fn silence_makes_a_node_suspect_and_then_lost() {
        let stands = [2_999, 3_000, 4_999, 5_000].map(|now| at(now, Sight::Silent));
        let lost = Standing::Lost { heard: Time(0) };
        assert_eq!(stands, [Standing::Here, Standing::Suspect, Standing::Suspect, lost]);
    }

    #[test]
    fn a_node_its_peers_see_is_given_more_time() {
        assert_eq!(at(29_999, Sight::Reached), Standing::Suspect);
        assert!(at(30_000, Sight::Reached).is_lost());
        assert_eq!(at(59_999, Sight::Refused), Standing::Suspect);
        assert!(at(60_000, Sight::Refused).is_lost());
    }

    #[test]
    fn a_node_never_heard_counts_from_when_listening_began() {
        let snapshot = Snapshot { listening_since: Time(10_000), ..Snapshot::default() };
        let ghost = "ghost".parse().unwrap();
        assert_eq!(standing(&snapshot, &ghost, Time(12_000)), Standing::Here);
        assert!(standing(&snapshot, &ghost, Time(15_000)).is_lost());
    }

    #[test]
    fn what_a_silent_peer_once_saw_counts_for_nothing() {
        let nodes: BTreeMap<NodeName, Node> =
            [node("n1", 0, &[]), node("n2", 1_000, &[("n1", Sight::Reached)])].into();
        let snapshot = Snapshot { nodes, ..Snapshot::default() };
        assert!(standing(&snapshot, &"n1".parse().unwrap(), Time(6_000)).is_lost());
    }
}
