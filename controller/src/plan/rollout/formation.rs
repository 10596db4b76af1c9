//! What is wanted of each process type, and what there is of it.

use std::collections::{BTreeMap, BTreeSet};

use model::app::{App, Scale};
use model::name::ProcessType;
use model::release::Release;
use model::snapshot::Versioned;
use model::standing::standing;
use model::unit::{Phase, Unit, UnitKind, UnitStatus};

use super::Pass;

/// One process type: what is wanted, and what there is.
pub(super) struct TypeView<'a> {
    pub(super) process: ProcessType,
    pub(super) scale: Scale,
    pub(super) wanted: u32,
    /// Units of the wanted release and epoch, by ordinal; all want to run.
    pub(super) current: BTreeMap<u32, &'a Versioned<Unit>>,
    /// Current ones beyond the count.
    pub(super) surplus: Vec<&'a Versioned<Unit>>,
    /// Units of another release or epoch that still want to run.
    pub(super) old: Vec<&'a Versioned<Unit>>,
    /// Units whose node is lost. Others take their place; they go when those serve.
    pub(super) lost: Vec<&'a Versioned<Unit>>,
    /// Any unit at all, leaving ones included, but for those whose node is lost.
    pub(super) any: usize,
    pub(super) serving: u32,
    pub(super) old_ready: u32,
    /// Started in this pass.
    pub(super) started: u32,
    /// Missing and without room.
    pub(super) unplaced: u32,
}

impl TypeView<'_> {
    pub(super) fn is_serving(&self) -> bool {
        self.unplaced == 0 && self.started == 0 && self.serving >= self.wanted
    }

    pub(super) fn is_empty_if_unwanted(&self) -> bool {
        self.wanted > 0 || self.any == 0 || !self.old.is_empty()
    }
}

impl<'a> Pass<'a> {
    /// Every type that is wanted or has units.
    pub(super) fn types(&self, app: &App, release: Option<&Release>) -> BTreeSet<ProcessType> {
        let units =
            self.snapshot.units_of(&app.name).filter(|unit| unit.value.kind == UnitKind::Service);
        let running = units.map(|unit| unit.value.process.clone());
        let wanted = release.into_iter().flat_map(Release::scalable).cloned();
        running.chain(wanted).collect()
    }

    pub(super) fn view(
        &self,
        app: &App,
        release: Option<&Release>,
        process: ProcessType,
    ) -> TypeView<'a> {
        let scale = app.formation.get(&process).cloned().unwrap_or_default();
        let in_release = release.is_some_and(|release| release.command(&process).is_some());
        let wanted = if in_release { scale.wanted() } else { 0 };
        let number = release.map(|release| release.number);
        let mut view = TypeView {
            wanted,
            current: BTreeMap::new(),
            surplus: Vec::new(),
            old: Vec::new(),
            lost: Vec::new(),
            any: 0,
            serving: 0,
            old_ready: 0,
            started: 0,
            unplaced: 0,
            scale,
            process,
        };
        for unit in self.snapshot.units_of(&app.name) {
            if unit.value.process != view.process || unit.value.kind != UnitKind::Service {
                continue;
            }
            let is_lost = standing(self.snapshot, &unit.value.node, self.now).is_lost();
            view.any += usize::from(!is_lost);
            if !unit.value.is_wanted() {
                continue;
            }
            if is_lost {
                view.lost.push(unit);
                continue;
            }
            let is_current =
                Some(unit.value.release) == number && unit.value.epoch == view.scale.epoch;
            if !is_current {
                view.old_ready += u32::from(self.is_ready(&unit.value));
                view.old.push(unit);
            } else if unit.value.ordinal > wanted {
                view.surplus.push(unit);
            } else if let Some(first) = view.current.get(&unit.value.ordinal).copied() {
                // A unit came back from a lost node: the one that serves stays.
                if self.is_ready(&unit.value) && !self.is_ready(&first.value) {
                    view.current.insert(unit.value.ordinal, unit);
                    view.surplus.push(first);
                } else {
                    view.surplus.push(unit);
                }
            } else {
                view.current.insert(unit.value.ordinal, unit);
            }
        }
        let current = view.current.values();
        view.serving = current.map(|unit| u32::from(self.is_serving(&unit.value))).sum();
        view
    }

    pub(super) fn status(&self, unit: &Unit) -> Option<&'a UnitStatus> {
        self.snapshot.statuses.get(&unit.id)
    }

    pub(super) fn is_ready(&self, unit: &Unit) -> bool {
        self.status(unit).is_some_and(|status| status.phase == Phase::Ready)
    }

    /// Ready and, for web, in the table of every live router, of which there is one at least.
    pub(super) fn is_serving(&self, unit: &Unit) -> bool {
        if !self.is_ready(unit) || !unit.process.is_web() {
            return self.is_ready(unit);
        }
        let Some(entered) = self.snapshot.entered_routes_at.get(&unit.id) else { return false };
        let mut routers = self.snapshot.live_routers(self.now).peekable();
        routers.peek().is_some() && routers.all(|router| router.version >= *entered)
    }
}
