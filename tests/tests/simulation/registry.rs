//! Where images are: each node has a registry, an image is on two of them before its push counts, and what is not here is fetched
//! from another one that answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::network::Network;

/// A cheap handle on all of them.
#[derive(Clone)]
pub struct Registries(Arc<Mutex<State>>);

struct State {
    network: Network,
    nodes: usize,
    holders: BTreeMap<String, BTreeSet<usize>>,
    down: BTreeSet<usize>,
}

impl Registries {
    /// Empty ones.
    pub fn new(network: Network, nodes: usize) -> Registries {
        let (holders, down) = (BTreeMap::new(), BTreeSet::new());
        Registries(Arc::new(Mutex::new(State { network, nodes, holders, down })))
    }

    /// Pushes to a node's registry. Counts only when another takes a copy.
    pub fn push(&self, node: usize, image: &str) -> bool {
        let mut state = self.lock();
        let others = || (0..state.nodes).filter(|other| *other != node);
        let Some(second) = others().find(|other| state.reaches(node, *other)) else { return false };
        if !state.reaches(node, node) {
            return false;
        }
        state.holders.entry(image.to_owned()).or_default().extend([node, second]);
        true
    }

    /// Whether a node gets an image now; then it has it, too.
    pub fn fetch(&self, node: usize, image: &str) -> bool {
        let mut state = self.lock();
        let own = state.reaches(node, node);
        let holders = state.holders.get(image).cloned().unwrap_or_default();
        let is_had = own && holders.iter().any(|holder| state.reaches(node, *holder));
        if is_had {
            state.holders.entry(image.to_owned()).or_default().insert(node);
        }
        is_had
    }

    /// Images that only one node that answers has are copied to another.
    pub fn repair(&self) {
        let mut state = self.lock();
        let answering: Vec<usize> = (0..state.nodes).filter(|it| state.reaches(*it, *it)).collect();
        for (image, mut holders) in state.holders.clone() {
            let mut well = answering.iter().filter(|node| holders.contains(node));
            let (Some(only), None) = (well.next(), well.next()) else { continue };
            let second = answering.iter().find(|it| *it != only && state.reaches(**it, *only));
            holders.extend(second);
            state.holders.insert(image, holders);
        }
    }

    /// A registry ends, or is started again.
    pub fn set_down(&self, node: usize, is_down: bool) {
        let mut state = self.lock();
        if is_down {
            state.down.insert(node);
        } else {
            state.down.remove(&node);
        }
    }

    /// Whether an image would be lost with a node's disk.
    pub fn needs(&self, node: usize) -> bool {
        self.lock().holders.values().any(|holders| holders.iter().all(|holder| *holder == node))
    }

    /// All that a node's registry has is gone.
    pub fn wipe(&self, node: usize) {
        self.lock().holders.values_mut().for_each(|holders| {
            holders.remove(&node);
        });
    }

    /// All of them run.
    pub fn heal(&self) {
        self.lock().down.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one node's registry gets an answer from another's, or its own.
    fn reaches(&self, node: usize, other: usize) -> bool {
        let runs = |it: usize| self.network.is_on(it) && !self.down.contains(&it);
        runs(node) && runs(other) && self.network.is_open(node, other)
    }
}
