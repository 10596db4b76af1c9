//! Where a new unit goes: of the nodes with its labels and room, the emptiest of those that run the fewest of its kind.
//!
//! Memory is reserved and never given twice. CPU is shared: it only makes a node look fuller. Each set of labels asked for has an index of its
//! own, made when it is first asked for, so that a choice costs the same among three nodes and ten thousand.

mod pool;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use model::name::{AppName, NodeName, ProcessType};
use model::node::{Duty, Node, NodeSpec};
use model::snapshot::Snapshot;
use model::time::Time;
use model::unit::Unit;

use self::pool::{Pool, Share};

/// Labels a node must have.
pub type Tags = BTreeMap<String, String>;

/// What one unit needs.
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    /// Whose it is.
    pub app: &'a AppName,
    /// Its type.
    pub process: &'a ProcessType,
    /// Labels its node must have.
    pub tags: &'a Tags,
    /// The one node it may run on, if its data is there.
    pub home: Option<&'a NodeName>,
    /// Memory it reserves.
    pub memory_bytes: u64,
    /// CPU it may use, if it was limited.
    pub cpu_millis: u32,
}

/// What is free on the nodes that take units, and what runs there. Counted once per pass, kept up as units are placed.
pub struct Room {
    /// In the order of their names.
    nodes: Vec<NodeRoom>,
    pools: Vec<Pool>,
    pool_of: HashMap<Tags, usize>,
    running: HashMap<AppName, HashMap<ProcessType, BTreeMap<u32, u32>>>,
    closed: Closed,
}

/// Nodes that take nothing, by reason.
#[derive(Default)]
struct Closed {
    silent: usize,
    off_duty: usize,
}

struct NodeRoom {
    name: NodeName,
    labels: Tags,
    memory_bytes: u64,
    cpu_millis: u32,
    free_bytes: u64,
    /// Held by units that are leaving.
    leaving_bytes: u64,
    cpu_used: u32,
    /// The pools it is in, and where.
    places: Vec<(usize, usize)>,
}

/// Why no node was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `no-node`, `no-label` or `no-room`.
    pub code: &'static str,
    /// In the user's words, with what can be done.
    pub reason: String,
}

impl Room {
    /// Counts a snapshot.
    pub fn of(snapshot: &Snapshot, now: Time) -> Room {
        let mut room = Room::empty();
        for node in snapshot.nodes.values() {
            let spec = snapshot.specs.get(&node.name).map(|spec| &spec.value);
            if !node.is_placeable(now) {
                room.closed.silent += 1;
            } else if spec.is_some_and(|spec| spec.duty != Duty::Open) {
                room.closed.off_duty += 1;
            } else {
                room.open(node, spec);
            }
        }
        for unit in snapshot.units.values().map(|unit| &unit.value) {
            room.hold(unit, cpu_of(snapshot, unit), snapshot.is_up_to_date(unit));
        }
        room
    }

    /// Without nodes.
    pub fn empty() -> Room {
        Room {
            nodes: Vec::new(),
            pools: Vec::new(),
            pool_of: HashMap::new(),
            running: HashMap::new(),
            closed: Closed::default(),
        }
    }

    /// A node takes units. Nodes come in the order of their names, before the first choice.
    pub fn open(&mut self, node: &Node, spec: Option<&NodeSpec>) {
        self.nodes.push(NodeRoom {
            name: node.name.clone(),
            labels: spec.map(|spec| spec.labels.clone()).unwrap_or_default(),
            memory_bytes: node.memory_bytes,
            cpu_millis: node.cpu_millis,
            free_bytes: node.memory_bytes.saturating_sub(node.sessions_bytes),
            leaving_bytes: 0,
            cpu_used: 0,
            places: Vec::new(),
        });
    }

    /// A unit that is there holds its room. One that is about to be replaced is no neighbour: what replaces it is spread anew.
    fn hold(&mut self, unit: &Unit, cpu_millis: u32, is_up_to_date: bool) {
        let Some(index) = self.index(&unit.node) else { return };
        if unit.is_wanted() && is_up_to_date {
            *self.running(&unit.app, &unit.process).entry(index).or_default() += 1;
        }
        let node = self.node_mut(index);
        node.free_bytes = node.free_bytes.saturating_sub(unit.memory_bytes);
        if unit.is_wanted() {
            node.cpu_used = node.cpu_used.saturating_add(cpu_millis);
        } else {
            node.leaving_bytes += unit.memory_bytes;
        }
    }

    /// Chooses a node and reserves the memory there.
    pub fn place(&mut self, need: Need<'_>) -> Result<NodeName, Refusal> {
        let chosen = match need.home {
            Some(home) => self.index(home).filter(|index| {
                let node = &self.nodes[*index as usize];
                node.has(need.tags) && node.free_bytes >= need.memory_bytes
            }),
            None => self.choose(need),
        };
        let Some(index) = chosen else { return Err(self.refusal(need)) };
        *self.running(need.app, need.process).entry(index).or_default() += 1;
        self.change(index, |node| {
            node.free_bytes -= need.memory_bytes;
            node.cpu_used = node.cpu_used.saturating_add(need.cpu_millis);
        });
        Ok(self.nodes[index as usize].name.clone())
    }

    fn choose(&mut self, need: Need<'_>) -> Option<u32> {
        let pool = self.pool(need.tags);
        let none = BTreeMap::new();
        let running = self.running.get(need.app).and_then(|types| types.get(need.process));
        let at = |index: u32| {
            let node = &self.nodes[index as usize];
            (node.share(), node.free_bytes)
        };
        self.pools[pool].choose(need.memory_bytes, running.unwrap_or(&none), at)
    }

    /// A node on which the memory will be free once the units that leave it are gone; kept for this unit from now on.
    pub fn promise(&mut self, need: Need<'_>) -> Option<NodeName> {
        let suited = (0_u32..).zip(&self.nodes).filter(|(_, node)| {
            node.leaving_bytes > 0
                && node.free_bytes + node.leaving_bytes >= need.memory_bytes
                && node.suits(need.tags, need.home)
        });
        let (index, _) = suited.min_by_key(|(index, node)| (node.share(), *index))?;
        *self.running(need.app, need.process).entry(index).or_default() += 1;
        self.change(index, |node| {
            let from_free = node.free_bytes.min(need.memory_bytes);
            node.free_bytes -= from_free;
            node.leaving_bytes -= need.memory_bytes - from_free;
        });
        Some(self.nodes[index as usize].name.clone())
    }

    /// A unit on this node leaves.
    pub fn leave(&mut self, unit: &Unit, is_up_to_date: bool) {
        let Some(index) = self.index(&unit.node) else { return };
        self.node_mut(index).leaving_bytes += unit.memory_bytes;
        if !is_up_to_date {
            return;
        }
        let running = self.running(&unit.app, &unit.process);
        if let Some(more) =
            running.remove(&index).and_then(|count| count.checked_sub(1)).filter(|more| *more > 0)
        {
            running.insert(index, more);
        }
    }

    /// What is free on a node or will be, if it takes units, has the labels and is the home of what has one.
    pub fn soon_free(&self, node: &NodeName, tags: &Tags, home: Option<&NodeName>) -> Option<u64> {
        let node = &self.nodes[self.index(node)? as usize];
        node.suits(tags, home).then_some(node.free_bytes + node.leaving_bytes)
    }

    /// The node that takes units and has the most memory free.
    pub fn roomiest(&self) -> Option<&NodeName> {
        let roomiest = self.nodes.iter().rev().max_by_key(|node| node.free_bytes);
        roomiest.map(|node| &node.name)
    }

    /// The nodes that take units, in the order of their names.
    pub fn open_nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().map(|node| &node.name)
    }

    /// The pool of a selector, made when it is first asked for.
    fn pool(&mut self, tags: &Tags) -> usize {
        if let Some(pool) = self.pool_of.get(tags) {
            return *pool;
        }
        let members = (0_u32..)
            .zip(&self.nodes)
            .filter(|(_, node)| node.has(tags))
            .map(|(index, node)| (index, node.share(), node.free_bytes));
        let pool = Pool::of(members);
        let number = self.pools.len();
        for (index, node) in (0_u32..).zip(&mut self.nodes) {
            if let Some(position) = pool.position(index) {
                node.places.push((number, position));
            }
        }
        self.pools.push(pool);
        self.pool_of.insert(tags.clone(), number);
        number
    }

    fn change(&mut self, index: u32, change: impl FnOnce(&mut NodeRoom)) {
        let node = &mut self.nodes[index as usize];
        let was = node.share();
        change(node);
        for (pool, position) in &node.places {
            self.pools[*pool].update(index, *position, was, node.share(), node.free_bytes);
        }
    }

    fn index(&self, name: &NodeName) -> Option<u32> {
        let index = self.nodes.binary_search_by(|node| node.name.cmp(name)).ok()?;
        u32::try_from(index).ok()
    }

    fn node_mut(&mut self, index: u32) -> &mut NodeRoom {
        &mut self.nodes[index as usize]
    }

    fn running(&mut self, app: &AppName, process: &ProcessType) -> &mut BTreeMap<u32, u32> {
        // Names are copied for the first unit of a type only.
        if !self.running.get(app).is_some_and(|types| types.contains_key(process)) {
            self.running.entry(app.clone()).or_default().insert(process.clone(), BTreeMap::new());
        }
        let types = self.running.get_mut(app).expect("the app was just entered");
        types.get_mut(process).expect("the type was just entered")
    }

    fn refusal(&mut self, need: Need<'_>) -> Refusal {
        if self.nodes.is_empty() {
            let Closed { silent, off_duty } = self.closed;
            let reason = format!(
                "no node is ready to run units ({silent} silent or in trouble, {off_duty} cordoned or draining)"
            );
            return Refusal { code: "no-node", reason };
        }
        if let Some(home) = need.home {
            return self.refusal_at_home(home, need);
        }
        let pool = self.pool(need.tags);
        let among = match need.tags.is_empty() {
            true => "no node".to_owned(),
            false => format!("no node labelled {}", shown_tags(need.tags)),
        };
        if self.pools[pool].is_empty() {
            let reason = format!(
                "{among} takes units now; label one with `clusterctl nodes:label`, or ask for other labels with `paasctl tags:set`"
            );
            return Refusal { code: "no-label", reason };
        }
        let reason = format!(
            "{among} has {} MiB of memory free (the most is {} MiB); add a node, or lower a limit or a count",
            need.memory_bytes >> 20,
            self.pools[pool].most_free() >> 20
        );
        Refusal { code: "no-room", reason }
    }

    /// The one node that could take it does not.
    fn refusal_at_home(&self, home: &NodeName, need: Need<'_>) -> Refusal {
        let node = self.index(home).map(|index| &self.nodes[index as usize]);
        match node.filter(|node| node.has(need.tags)) {
            None => {
                let reason = format!(
                    "its volume is on {home}, which is not labelled {}; label it with `clusterctl nodes:label`, or ask for other labels with `paasctl tags:set`",
                    shown_tags(need.tags)
                );
                Refusal { code: "no-label", reason }
            }
            Some(node) => {
                let reason = format!(
                    "its volume is on {home}, which has {} MiB of memory free of the {} MiB it needs; lower a limit or a count",
                    node.free_bytes >> 20,
                    need.memory_bytes >> 20
                );
                Refusal { code: "no-room", reason }
            }
        }
    }
}

impl NodeRoom {
    fn suits(&self, tags: &Tags, home: Option<&NodeName>) -> bool {
        home.is_none_or(|home| self.name == *home) && self.has(tags)
    }

    fn has(&self, tags: &Tags) -> bool {
        tags.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }

    fn share(&self) -> Share {
        let used = self.memory_bytes - self.free_bytes;
        let of = |used: u64, all: u64| (used << 20).checked_div(all).unwrap_or(1 << 20);
        of(used >> 10, self.memory_bytes >> 10)
            .max(of(self.cpu_used.into(), self.cpu_millis.into()))
    }
}

/// The CPU that was given to a unit, as its release says.
fn cpu_of(snapshot: &Snapshot, unit: &Unit) -> u32 {
    let release = snapshot.release(&unit.app, unit.release);
    release.and_then(|release| release.limits(&unit.process).cpu_millis).unwrap_or(0)
}

/// As users write them: `disk=ssd zone=a`.
pub fn shown_tags(tags: &Tags) -> String {
    let words: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}
