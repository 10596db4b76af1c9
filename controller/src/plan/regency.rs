//! What the last node starts when all others are gone and nobody can decide: one unit of every production type it does
//! not run already, as far as its memory goes.
//!
//! Nothing of it is stored. In the worst case, when the others live and only cannot be seen, it costs extra copies of
//! units that may run twice; those that may not, and those whose volume is elsewhere, are never among them. The next leader knows nothing of these units, so its
//! first orders end them.

use model::app::{App, Class};
use model::name::{NodeName, ProcessType};
use model::release::Release;
use model::snapshot::Snapshot;
use model::standing::standing;
use model::time::Time;
use model::unit::{Desired, Unit, UnitKind};

use super::Rules;
use super::home::Home;

/// Without a quorum for this long, and without sight of any other node, a node counts itself the last.
pub const AFTER_MS: u64 = 45_000;

/// Whether a node is the only one of its cluster that can be seen, and may plan for itself.
pub fn is_alone(snapshot: &Snapshot, node: &NodeName, now: Time) -> bool {
    let others = snapshot.specs.values().filter(|spec| spec.value.name != *node);
    let mut members = others.filter(|spec| spec.value.is_member()).peekable();
    members.peek().is_some()
        && members.all(|spec| standing(snapshot, &spec.value.name, now).is_lost())
}

/// The units to add on `node`, in the order of what matters most.
pub fn regency(snapshot: &Snapshot, node: &NodeName, rules: &Rules, now: Time) -> Vec<Unit> {
    let Some(machine) = snapshot.nodes.get(node) else { return Vec::new() };
    let mut free_bytes = machine.memory_bytes.saturating_sub(snapshot.reserved_bytes(node));
    let mut added = Vec::new();
    for (app, release, process) in wanted(snapshot) {
        let is_at_home = |home: Home<'_>| home.node() == node && home.is_open(snapshot, now);
        if !Home::of(app, process).is_none_or(is_at_home) {
            continue;
        }
        let runs_here =
            |unit: &Unit| unit.node == *node && unit.process == *process && unit.is_wanted();
        if snapshot.units_of(&app.name).any(|unit| runs_here(&unit.value)) {
            continue;
        }
        let limit = release.limits(process).memory_bytes;
        let memory_bytes = limit.unwrap_or(rules.default_memory_bytes);
        if memory_bytes > free_bytes {
            continue;
        }
        free_bytes -= memory_bytes;
        let id = format!("{}-{}-reserve", app.name, process).to_lowercase().replace('_', "-");
        added.push(Unit {
            id: id.parse().expect("app, type and a word make a unit id"),
            app: app.name.clone(),
            process: process.clone(),
            ordinal: 1,
            release: release.number,
            epoch: app.formation.get(process).map_or(0, |scale| scale.epoch),
            kind: UnitKind::Service,
            node: node.clone(),
            memory_bytes,
            exclusive: false,
            mounts: app.mounts_of(process),
            created: now,
            desired: Desired::Run,
        });
    }
    added
}

/// Production types that shall run, of what was last seen serving: web first, because somebody waits for it.
fn wanted(snapshot: &Snapshot) -> Vec<(&App, &Release, &ProcessType)> {
    let apps = snapshot.apps.values().map(|app| &app.value);
    let apps = apps.filter(|app| app.class == Class::Production && app.destroyed.is_none());
    let mut wanted: Vec<_> = apps
        .filter_map(|app| Some((app, snapshot.release(&app.name, app.current?)?)))
        .flat_map(|(app, release)| {
            let types = release.scalable().filter(|process| {
                app.formation.get(*process).is_some_and(|it| it.wanted() > 0 && !it.exclusive)
            });
            types.map(move |process| (app, release, process))
        })
        .collect();
    wanted.sort_by_key(|(_, _, process)| !process.is_web());
    wanted
}

#[cfg(test)]
mod tests;
