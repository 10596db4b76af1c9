//! The nodes that have certain labels, in order of how full they are.
//!
//! A choice walks from the emptiest node on. Nodes that cannot hold the unit, although they are emptier by share, are given up on after a
//! few; a tree of free memory then finds those that can, and says exactly when none can.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::MaxTree;

/// So many nodes without enough memory are passed before the tree is asked.
const MAX_MISSES: usize = 16;

/// How full a node is: the greater of its shares of memory and CPU, in parts of 2^20.
pub(super) type Share = u64;

/// The nodes of one selector.
pub(super) struct Pool {
    order: BTreeSet<(Share, u32)>,
    members: Vec<u32>,
    free: MaxTree,
}

impl Pool {
    /// Of members in rising order, with their share and free memory.
    pub(super) fn of(nodes: impl Iterator<Item = (u32, Share, u64)> + Clone) -> Pool {
        let free: Vec<u64> = nodes.clone().map(|(_, _, free)| free).collect();
        Pool {
            order: nodes.clone().map(|(node, share, _)| (share, node)).collect(),
            members: nodes.map(|(node, ..)| node).collect(),
            free: MaxTree::of(&free),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The most free memory on one node.
    pub(super) fn most_free(&self) -> u64 {
        self.free.most()
    }

    /// The position of a member.
    pub(super) fn position(&self, node: u32) -> Option<usize> {
        self.members.binary_search(&node).ok()
    }

    /// A member's share and free memory changed.
    pub(super) fn update(&mut self, node: u32, position: usize, was: Share, is: Share, free: u64) {
        if was != is {
            self.order.remove(&(was, node));
            self.order.insert((is, node));
        }
        self.free.set(position, free);
    }

    /// The emptiest node with `least` bytes free that runs none of a type, else one that runs the fewest.
    pub(super) fn choose(
        &self,
        least: u64,
        running: &BTreeMap<u32, u32>,
        at: impl Fn(u32) -> (Share, u64),
    ) -> Option<u32> {
        if self.is_empty() || self.free.most() < least {
            return None;
        }
        let mut misses = 0;
        for (_, node) in &self.order {
            if at(*node).1 < least {
                misses += 1;
                if misses == MAX_MISSES {
                    break;
                }
            } else if !running.contains_key(node) {
                return Some(*node);
            }
        }
        let fresh = if misses == MAX_MISSES { self.fresh(least, running) } else { None };
        fresh.or_else(|| {
            let fitting = running.iter().filter(|(node, _)| at(**node).1 >= least);
            let members = fitting.filter(|(node, _)| self.position(**node).is_some());
            members.min_by_key(|(node, count)| (**count, at(**node).0)).map(|(node, _)| *node)
        })
    }

    /// Of the nodes that can hold it, the first that runs none of the type.
    fn fresh(&self, least: u64, running: &BTreeMap<u32, u32>) -> Option<u32> {
        let mut from = 0;
        while let Some(position) = self.free.next(from, least.max(1)) {
            let node = self.members[position];
            if !running.contains_key(&node) {
                return Some(node);
            }
            from = position + 1;
        }
        None
    }
}
