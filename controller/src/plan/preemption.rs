//! Which units of lower classes stop when one of a higher class finds no room.
//!
//! On one node, never more than needed: lowest class first, highest number of its type first, and of equal ones so that as little as possible is
//! freed beyond the need.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use model::app::Class;
use model::name::{NodeName, UnitId};
use model::snapshot::Versioned;
use model::time::Time;
use model::unit::{Desired, Unit, UnitKind};

use super::Action;
use super::census::Census;
use super::placement::{Need, Refusal, Room, Tags};

/// Those that could be stopped, by node. Listed when first asked for.
pub struct Victims<'a> {
    census: &'a Census<'a>,
    by_node: Option<BTreeMap<&'a NodeName, Vec<Victim<'a>>>>,
    /// What found nothing in this pass: room only gets less.
    in_vain: BTreeMap<(Tags, Option<NodeName>, Class), u64>,
    /// The highest class that has units. Looked up when first asked for.
    highest: Option<Option<Class>>,
}

struct Victim<'a> {
    class: Class,
    unit: &'a Versioned<Unit>,
}

impl<'a> Victims<'a> {
    /// None listed yet.
    pub fn new(census: &'a Census<'a>) -> Victims<'a> {
        Victims { census, by_node: None, in_vain: BTreeMap::new(), highest: None }
    }

    /// Those whose stop makes room for a unit of `class`; they are not offered again. None when nothing helps.
    pub fn choose(
        &mut self,
        class: Class,
        need: Need<'_>,
        room: &Room,
    ) -> Option<Vec<&'a Versioned<Unit>>> {
        let key = (need.tags.clone(), need.home.cloned(), class);
        if class == Class::Preview
            || self.in_vain.get(&key).is_some_and(|least| need.memory_bytes >= *least)
        {
            return None;
        }
        let census = self.census;
        let by_node = self.by_node.get_or_insert_with(|| list(census));
        let options = by_node.iter().filter_map(|(node, victims)| {
            let missing =
                need.memory_bytes.checked_sub(room.soon_free(node, need.tags, need.home)?)?;
            let taken = fewest(victims, class, missing)?;
            let freed: u64 = taken.iter().map(|victim| victim.unit.value.memory_bytes).sum();
            let highest = taken.iter().map(|victim| victim.class).max();
            let first = taken.iter().map(|victim| victim.unit.value.ordinal).min();
            let units: Vec<_> = taken.into_iter().map(|victim| victim.unit).collect();
            Some(((highest, units.len(), Reverse(first), freed - missing), *node, units))
        });
        let Some((_, node, units)) = options.min_by_key(|(cost, node, _)| (*cost, *node)) else {
            self.in_vain.insert(key, need.memory_bytes);
            return None;
        };
        let taken: BTreeSet<&UnitId> = units.iter().map(|unit| &unit.value.id).collect();
        let victims = by_node.get_mut(node)?;
        victims.retain(|victim| !taken.contains(&victim.unit.value.id));
        Some(units)
    }

    /// Why a unit of a class waits, when it may be for the room that higher classes hold.
    pub fn above(&mut self, class: Class, refusal: &Refusal) -> String {
        let census = self.census;
        let highest = self.highest.get_or_insert_with(|| {
            let apps = &census.snapshot.apps;
            let units = census.snapshot.units.values();
            units.filter_map(|unit| apps.get(&unit.value.app)).map(|app| app.value.class).max()
        });
        match highest.is_some_and(|highest| highest > class) {
            true => format!("apps of a higher class go first, and {}", refusal.reason),
            false => refusal.reason.clone(),
        }
    }
}

/// All that serve, the first to stop first.
fn list<'a>(census: &'a Census<'a>) -> BTreeMap<&'a NodeName, Vec<Victim<'a>>> {
    let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for unit in census.snapshot.units.values() {
        let Some(app) = census.snapshot.apps.get(&unit.value.app) else { continue };
        let class = app.value.class;
        if class < Class::Production
            && unit.value.is_wanted()
            && unit.value.kind == UnitKind::Service
        {
            by_node.entry(&unit.value.node).or_default().push(Victim { class, unit });
        }
    }
    for victims in by_node.values_mut() {
        victims.sort_by_key(|Victim { class, unit }| {
            (*class, Reverse(unit.value.ordinal), unit.value.memory_bytes, &unit.value.id)
        });
    }
    by_node
}

/// Of those below `class`, the first that free `missing` bytes together, without any that is not needed for it.
fn fewest<'v, 'a>(
    victims: &'v [Victim<'a>],
    class: Class,
    missing: u64,
) -> Option<Vec<&'v Victim<'a>>> {
    let mut taken = Vec::new();
    let mut freed = 0;
    for victim in victims.iter().filter(|victim| victim.class < class) {
        if freed >= missing {
            break;
        }
        freed += victim.unit.value.memory_bytes;
        taken.push(victim);
    }
    if freed < missing || taken.is_empty() {
        return None;
    }
    // The last to be named is the dearest: spared first.
    for index in (0..taken.len()).rev() {
        let bytes = taken[index].unit.value.memory_bytes;
        if freed - bytes >= missing {
            freed -= bytes;
            taken.remove(index);
        }
    }
    Some(taken)
}

/// Web units drain first; others have no traffic to finish.
pub fn let_go(unit: &Versioned<Unit>, since: Time) -> Action {
    let desired = match unit.value.process.is_web() {
        true => Desired::Drain { since },
        false => Desired::Stop { since },
    };
    let value = Unit { desired, ..unit.value.clone() };
    Action::MoveUnit(Versioned { value, revision: unit.revision })
}
