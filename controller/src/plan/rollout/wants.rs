//! What a type asks for, and what it gives up to get it.

use std::collections::BTreeSet;

use model::app::App;
use model::name::UnitId;
use model::release::{Release, ReleaseState};
use model::snapshot::Versioned;
use model::unit::{Unit, UnitKind};

use super::Pass;
use super::formation::TypeView;
use super::release_phase::NO_TAGS;
use crate::plan::demand::{Demand, Holder, There};
use crate::plan::home::Home;
use crate::plan::placement::Room;

impl<'a> Pass<'a> {
    /// Its missing units, and those that have to move.
    pub(super) fn demands(
        &self,
        app: &'a App,
        release: &'a Release,
        view: &TypeView<'a>,
    ) -> Vec<Demand<'a>> {
        let tags = app.formation.get(&view.process).map_or(&NO_TAGS, |scale| &scale.tags);
        let demand = |ordinal: u32, rank: usize, there: There| Demand {
            survey: 0,
            app,
            release,
            process: view.process.clone(),
            ordinal,
            epoch: view.scale.epoch,
            kind: UnitKind::Service,
            exclusive: view.scale.exclusive,
            tags,
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            there,
            holder: view.holding.get(&ordinal).map(|unit| Holder {
                name: format!("{} on {}", unit.value.display_name(), unit.value.node),
                is_lost: self.census.is_lost(&unit.value),
            }),
        };
        let older = view.old.iter().filter(|unit| !self.is_given_up(unit));
        let older: BTreeSet<u32> = older.map(|unit| unit.value.ordinal).collect();
        let have = view.current.len() + older.len();
        let missing = (1..=view.wanted).filter(|ordinal| !view.current.contains_key(ordinal));
        let (replacing, lacking): (Vec<u32>, Vec<u32>) =
            missing.partition(|ordinal| older.contains(ordinal));
        let replacing = replacing.into_iter().enumerate();
        let replacing = replacing.map(|(index, ordinal)| demand(ordinal, index + 1, There::Older));
        let lacking = lacking.into_iter().enumerate();
        let lacking =
            lacking.map(|(index, ordinal)| demand(ordinal, have + index + 1, There::Nothing));
        let moving = view.current.iter().filter(|(_, unit)| self.census.is_moving(&unit.value));
        let moving = moving.filter(|(ordinal, _)| !view.succeeded.contains(ordinal));
        let moving = moving.map(|(ordinal, unit)| {
            demand(*ordinal, *ordinal as usize, There::Moving(unit.value.node.to_string()))
        });
        replacing.chain(lacking).chain(moving).collect()
    }

    /// Units that go before their successors serve: older ones where new ones do not fit beside them, and those of exclusive types, always
    /// as few as leave enough that serve.
    pub(super) fn yielding(
        &self,
        app: &App,
        view: &TypeView<'a>,
        release: Option<&Release>,
        room: &Room,
    ) -> BTreeSet<UnitId> {
        let home = Home::of(app, &view.process);
        let is_open = home.is_none_or(|home| home.is_open(self.snapshot, self.now));
        let mut candidates: Vec<&Versioned<Unit>> = view
            .old
            .iter()
            .copied()
            .filter(|unit| {
                view.got.after_the_older.contains(&unit.value.ordinal)
                    || (view.got.refused > 0
                        && is_open
                        && self.makes_room(unit, view, (release, home), room))
            })
            .collect();
        let moving = view.current.iter().filter(|(_, unit)| self.census.is_moving(&unit.value));
        let moving = moving.filter(|(ordinal, _)| view.got.after_the_older.contains(ordinal));
        candidates.extend(moving.map(|(_, unit)| *unit));
        // Those that do not serve go first.
        candidates.sort_by_key(|unit| (self.is_ready(&unit.value), unit.value.ordinal));
        let mut spare = view.spare();
        let goes = |unit: &&Versioned<Unit>| {
            if !self.is_ready(&unit.value) && !view.is_in_motion() {
                return true;
            }
            let is_spared = spare == 0;
            spare = spare.saturating_sub(1);
            !is_spared
        };
        candidates.into_iter().filter(goes).map(|unit| unit.value.id.clone()).collect()
    }

    /// Whether a new unit would fit where this one runs if it and its kind there were gone.
    fn makes_room(
        &self,
        unit: &Versioned<Unit>,
        view: &TypeView<'a>,
        (release, home): (Option<&Release>, Option<Home<'_>>),
        room: &Room,
    ) -> bool {
        let node = &unit.value.node;
        let home = home.map(|home| home.node());
        let Some(free) = room.soon_free(node, &view.scale.tags, home) else { return false };
        let here = view.old.iter().filter(|other| other.value.node == *node);
        let freed: u64 = here.map(|other| other.value.memory_bytes).sum();
        let own = release.and_then(|release| release.limits(&view.process).memory_bytes);
        free + freed >= own.unwrap_or(self.census.rules.default_memory_bytes)
    }

    /// Whether its release was given up.
    pub(super) fn is_given_up(&self, unit: &Versioned<Unit>) -> bool {
        let release = self.snapshot.release(&unit.value.app, unit.value.release);
        release.is_none_or(|release| matches!(release.state, ReleaseState::Failed { .. }))
    }
}
