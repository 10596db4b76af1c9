//! What is wanted of each process type, and what there is of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use model::app::{App, Scale};
use model::name::{ProcessType, UnitId};
use model::release::Release;
use model::snapshot::Versioned;
use model::unit::{Phase, Unit, UnitKind, UnitStatus};

use super::Pass;
use crate::plan::demand::{Answer, Demand, There};

/// One process type: what is wanted, and what there is.
pub(super) struct TypeView<'a> {
    pub(super) process: ProcessType,
    pub(super) scale: Scale,
    pub(super) wanted: u32,
    /// Units of the wanted release and epoch, by ordinal; all want to run.
    pub(super) current: BTreeMap<u32, &'a Versioned<Unit>>,
    /// Current ones that are not needed: beyond the count, or a second one of their ordinal.
    pub(super) surplus: Vec<&'a Versioned<Unit>>,
    /// Units of another release or epoch that still want to run.
    pub(super) old: Vec<&'a Versioned<Unit>>,
    /// Units whose node is lost. Others take their place; they go when those serve.
    pub(super) lost: Vec<&'a Versioned<Unit>>,
    /// Any unit at all, leaving ones included, but for those whose node is lost.
    pub(super) any: usize,
    /// Ordinals of which another unit takes over, when it serves, from the current one on a node that is being drained.
    pub(super) succeeded: BTreeSet<u32>,
    /// Of exclusive types: by ordinal, a unit of which it is not certain that it has ended.
    pub(super) holding: BTreeMap<u32, &'a Versioned<Unit>>,
    pub(super) serving: u32,
    pub(super) old_ready: u32,
    /// What it got in this pass.
    pub(super) got: Got,
    /// Units that go before their successors serve, so that those find room or may start.
    pub(super) yielding: BTreeSet<UnitId>,
}

/// What a type got of what it asked for.
#[derive(Default)]
pub(super) struct Got {
    /// Started, not counting those that only take over from another.
    pub(super) started: u32,
    /// Missing and not started.
    pub(super) unplaced: u32,
    /// Of those, without a prospect.
    pub(super) refused: u32,
    /// Ordinals that start when the older unit has ended.
    pub(super) after_the_older: BTreeSet<u32>,
    /// Ordinals of exclusive units that were started in place of one on a lost node.
    pub(super) reassigned: BTreeSet<u32>,
}

impl<'a> TypeView<'a> {
    pub(super) fn is_serving(&self) -> bool {
        self.got.unplaced == 0 && self.got.started == 0 && self.serving >= self.wanted
    }

    pub(super) fn is_empty_if_unwanted(&self) -> bool {
        self.wanted > 0 || self.any == 0 || !self.old.is_empty()
    }

    /// Whether something is on its way that changes what there is.
    pub(super) fn is_in_motion(&self) -> bool {
        let starting = self.got.started > 0 || self.current.len() > self.serving as usize;
        let staying =
            self.old.len() + self.current.len() + self.surplus.len() + self.succeeded.len();
        starting || self.any > staying
    }

    /// Whether it wants something that nothing makes possible.
    pub(super) fn is_stuck(&self) -> bool {
        self.got.refused > 0 && self.yielding.is_empty() && !self.is_in_motion()
    }

    /// Hears what became of one of its demands.
    pub(super) fn hear(&mut self, demand: &Demand<'a>, answer: Answer) {
        let ordinal = demand.ordinal;
        if answer == Answer::AfterTheOlder {
            self.got.after_the_older.insert(ordinal);
        }
        if matches!(demand.there, There::Moving(_)) {
            return;
        }
        match answer {
            Answer::Started => {
                self.got.started += 1;
                if demand.exclusive {
                    self.got.reassigned.insert(ordinal);
                }
            }
            Answer::Promised | Answer::AfterTheOlder => self.got.unplaced += 1,
            Answer::Refused => {
                self.got.unplaced += 1;
                self.got.refused += 1;
            }
        }
    }

    /// The least that must serve while others are replaced or moved: all but one in four, or all but one.
    fn min_healthy(&self) -> u32 {
        self.wanted.saturating_sub((self.wanted / 4).max(1))
    }

    /// How many that serve may go now, whatever the reason: a deploy, a drain and a lost node draw on one account.
    pub(super) fn spare(&self) -> u32 {
        let ready = self.serving + self.old_ready;
        match ready.saturating_sub(self.wanted) {
            0 if self.is_in_motion() => 0,
            0 => ready.saturating_sub(self.min_healthy()),
            beyond_need => beyond_need,
        }
    }
}

impl<'a> Pass<'a> {
    /// Every type that is wanted or has units.
    pub(super) fn types(&self, app: &App, release: Option<&Release>) -> BTreeSet<ProcessType> {
        let units =
            self.census.units_of(&app.name).filter(|unit| unit.value.kind == UnitKind::Service);
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
            succeeded: BTreeSet::new(),
            holding: BTreeMap::new(),
            serving: 0,
            old_ready: 0,
            got: Got::default(),
            yielding: BTreeSet::new(),
            scale,
            process,
        };
        let mut by_ordinal: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for unit in self.census.units_of(&app.name) {
            if unit.value.process != view.process || unit.value.kind != UnitKind::Service {
                continue;
            }
            let is_lost = self.census.is_lost(&unit.value);
            view.any += usize::from(!is_lost);
            if view.scale.exclusive && !self.census.has_ended(&unit.value) {
                view.holding.insert(unit.value.ordinal, unit);
            }
            if !unit.value.is_wanted() {
                continue;
            }
            let is_current =
                Some(unit.value.release) == number && unit.value.epoch == view.scale.epoch;
            if is_lost {
                view.lost.push(unit);
            } else if !is_current {
                view.old_ready += u32::from(self.is_ready(&unit.value));
                view.old.push(unit);
            } else if unit.value.ordinal > wanted {
                view.surplus.push(unit);
            } else {
                by_ordinal.entry(unit.value.ordinal).or_default().push(unit);
            }
        }
        for (ordinal, units) in by_ordinal {
            self.elect(&mut view, ordinal, units);
        }
        let current = view.current.values();
        view.serving = current.map(|unit| u32::from(self.is_serving(&unit.value))).sum();
        view
    }

    /// Of several units of one ordinal, the one that serves stays: one came back from a lost node, or one takes over from another on a node
    /// that is being drained, which goes when the other serves.
    fn elect(&self, view: &mut TypeView<'a>, ordinal: u32, mut units: Vec<&'a Versioned<Unit>>) {
        units.sort_by_key(|unit| {
            let well = (self.is_serving(&unit.value), self.is_ready(&unit.value));
            (Reverse(well), self.census.is_moving(&unit.value))
        });
        let mut units = units.into_iter();
        let Some(first) = units.next() else { return };
        let mut needs_successor = self.census.is_moving(&first.value);
        for other in units {
            if needs_successor && !self.census.is_moving(&other.value) {
                needs_successor = false;
                view.succeeded.insert(ordinal);
            } else {
                view.surplus.push(other);
            }
        }
        view.current.insert(ordinal, first);
    }

    /// Units stopped for others are not there any more.
    pub(super) fn lose(&self, view: &mut TypeView<'a>, preempted: &BTreeSet<UnitId>) {
        let stays = |unit: &Versioned<Unit>| !preempted.contains(&unit.value.id);
        view.surplus.retain(|unit| stays(unit));
        view.old.retain(|unit| stays(unit));
        let before = view.current.len();
        view.current.retain(|_, unit| stays(unit));
        if view.current.len() < before {
            view.got.unplaced += 1;
            let current = view.current.values();
            view.serving = current.map(|unit| u32::from(self.is_serving(&unit.value))).sum();
        }
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
