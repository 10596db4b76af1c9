//! A snapshot with its counts: units by app and how nodes stand, made once per pass.

use std::collections::BTreeMap;

use model::name::{AppName, NodeName};
use model::node::{Duty, Sight};
use model::snapshot::{Snapshot, Versioned};
use model::standing::{Standing, best_sight, standing};
use model::time::Time;
use model::unit::{Phase, Unit};

use super::Rules;

/// An exclusive unit is taken for ended when its node was silent for this long: its agent ended it after 6 s without a controller and
/// takes at most 1 s to do so.
pub const FENCED_AFTER_MS: u64 = 8_000;
/// ... and when this controller has led for this long: an earlier leader, cut off together with the node, went on answering it for
/// up to 3.5 s after its last successful beat, and only then the 6 s and the 1 s began.
pub const FENCED_AFTER_LEADING_MS: u64 = 10_500;

/// What all planners of a pass read.
pub struct Census<'a> {
    /// The world.
    pub snapshot: &'a Snapshot,
    /// Settings.
    pub rules: &'a Rules,
    /// The time.
    pub now: Time,
    units: BTreeMap<&'a AppName, Vec<&'a Versioned<Unit>>>,
    standings: BTreeMap<&'a NodeName, Standing>,
}

impl<'a> Census<'a> {
    /// Counts a snapshot.
    pub fn of(snapshot: &'a Snapshot, rules: &'a Rules, now: Time) -> Census<'a> {
        let mut units: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut standings = BTreeMap::new();
        for unit in snapshot.units.values() {
            units.entry(&unit.value.app).or_default().push(unit);
            let node = &unit.value.node;
            standings.entry(node).or_insert_with(|| standing(snapshot, node, now));
        }
        Census { snapshot, rules, now, units, standings }
    }

    /// The units of one app, by id.
    pub fn units_of(&self, app: &AppName) -> impl Iterator<Item = &'a Versioned<Unit>> + use<'a> {
        let units = self.units.get(app).cloned().unwrap_or_default();
        units.into_iter()
    }

    /// Whether the unit's node is lost, so that others make up for it.
    pub fn is_lost(&self, unit: &Unit) -> bool {
        self.standings.get(&unit.node).is_some_and(|standing| standing.is_lost())
    }

    /// Whether the unit shall move away from its node.
    pub fn is_moving(&self, unit: &Unit) -> bool {
        let spec = self.snapshot.specs.get(&unit.node);
        spec.is_some_and(|spec| matches!(spec.value.duty, Duty::Draining { .. }))
    }

    /// Whether it is certain that nothing runs of the unit any more, so that another of its number may start.
    pub fn has_ended(&self, unit: &Unit) -> bool {
        let status = self.snapshot.statuses.get(&unit.id);
        if status.is_some_and(|status| status.phase == Phase::Gone) {
            return true;
        }
        let Some(Standing::Lost { heard }) = self.standings.get(&unit.node).copied() else {
            return false;
        };
        let spec = self.snapshot.specs.get(&unit.node);
        if spec.is_some_and(|spec| !spec.value.is_member()) {
            return true;
        }
        // A dead agent ends nothing: what it ran may run on, until the agent or an operator is back.
        let is_unattended = best_sight(self.snapshot, &unit.node, self.now) == Sight::Refused;
        let led_ms = self.snapshot.leading_since.map_or(0, |since| self.now.since_ms(since));
        unit.exclusive
            && !is_unattended
            && self.now.since_ms(heard) >= FENCED_AFTER_MS
            && led_ms >= FENCED_AFTER_LEADING_MS
    }
}
