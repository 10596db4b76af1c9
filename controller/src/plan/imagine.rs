//! What would become of the cluster: the planners' own decisions, on a world in which every unit serves at once and every unit told to go
//! is gone. For dry runs, and for looking at losses before they happen.

use std::collections::{BTreeMap, BTreeSet};

use model::app::Class;
use model::name::{AppName, NodeName, UnitId};
use model::route::RouterStatus;
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::{Phase, Unit, UnitStatus};

use super::{Action, Ids, Rules, Waiting, plan};

/// Passes until nothing changes any more; a rollout one by one of as many units as a type may have needs fewer.
const MAX_PASSES: usize = 4_000;
/// Losses of two nodes are looked at in clusters of up to so many.
const MAX_NODES_FOR_PAIRS: usize = 8;
/// Losses of one node are looked at for so many, those with the most memory reserved: the others are easier to bear.
const MAX_LOSSES: usize = 16;

/// What would become of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Units that would start.
    pub starts: Vec<Unit>,
    /// Units that would go, preempted ones excepted.
    pub stops: Vec<Unit>,
    /// Units that would go for others of a higher class.
    pub preempted: Vec<Unit>,
    /// What would still be waited for.
    pub waiting: Vec<Waiting>,
}

/// Nodes that are lost together, and what then waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The nodes.
    pub nodes: Vec<NodeName>,
    /// What could not run, by app and class.
    pub waiting: Vec<(Class, Waiting)>,
}

impl Loss {
    /// The apps of a class that would wait.
    pub fn apps(&self, class: Class) -> BTreeSet<&AppName> {
        let of_class = self.waiting.iter().filter(|(own, _)| *own == class);
        of_class.map(|(_, waiting)| &waiting.app).collect()
    }

    /// What is bound to a volume of a lost node waits for that node; no reserve elsewhere would help it.
    fn but_for_volumes(mut self) -> Loss {
        self.waiting.retain(|(_, waiting)| waiting.code != "volume");
        self
    }
}

/// What the planners would make of this world.
pub fn outlook(before: &Snapshot, rules: &Rules, now: Time) -> Outlook {
    let mut world = World { snapshot: before.clone(), ids: Numbers(0), preempted: BTreeSet::new() };
    let waiting = world.settle(rules, now);
    let after = &world.snapshot.units;
    let starts = after.iter().filter(|(id, _)| !before.units.contains_key(*id));
    let gone =
        before.units.iter().filter(|(id, unit)| unit.value.is_wanted() && !after.contains_key(*id));
    let (preempted, stops): (Vec<_>, Vec<_>) =
        gone.partition(|(id, _)| world.preempted.contains(*id));
    let units = |units: Vec<(&UnitId, &Versioned<Unit>)>| {
        units.into_iter().map(|(_, unit)| unit.value.clone()).collect()
    };
    Outlook {
        starts: units(starts.collect()),
        stops: units(stops),
        preempted: units(preempted),
        waiting,
    }
}

/// What would wait if these nodes were lost.
pub fn losing(before: &Snapshot, nodes: &[NodeName], rules: &Rules, now: Time) -> Loss {
    let mut snapshot = before.clone();
    for node in nodes {
        snapshot.nodes.remove(node);
    }
    snapshot.nodes.values_mut().for_each(|node| node.sights.clear());
    // Long ago, so that the silence of the lost ones is long.
    (snapshot.listening_since, snapshot.leading_since) = (Time(0), Some(Time(0)));
    let Outlook { waiting, .. } = outlook(&snapshot, rules, now);
    let class = |app: &AppName| snapshot.apps.get(app).map(|app| app.value.class);
    let waiting = waiting.into_iter();
    let waiting = waiting.filter_map(|waiting| Some((class(&waiting.app)?, waiting)));
    Loss { nodes: nodes.to_vec(), waiting: waiting.collect() }
}

/// Every loss of one node and, in small clusters, of two.
pub fn losses(snapshot: &Snapshot, rules: &Rules, now: Time) -> Vec<Loss> {
    let mut nodes: Vec<&NodeName> = snapshot.nodes.keys().collect();
    let reserved: BTreeMap<_, _> =
        nodes.iter().map(|node| (*node, snapshot.reserved_bytes(node))).collect();
    nodes.sort_by_key(|node| (std::cmp::Reverse(reserved[node]), *node));
    nodes.truncate(MAX_LOSSES);
    nodes.sort();
    let ones = nodes.iter().map(|node| vec![(*node).clone()]);
    let pairs = nodes.iter().enumerate().flat_map(|(index, one)| {
        let others = if nodes.len() <= MAX_NODES_FOR_PAIRS { &nodes[index + 1..] } else { &[] };
        others.iter().map(|other| vec![(*one).clone(), (*other).clone()])
    });
    // To lose all leaves nothing to look at.
    let sets = ones.chain(pairs).filter(|set| set.len() < snapshot.nodes.len());
    sets.map(|set| losing(snapshot, &set, rules, now)).collect()
}

/// The losses of one node that this app, in production, would not survive whole.
pub fn beyond_the_reserve(
    snapshot: &Snapshot,
    app: &AppName,
    rules: &Rules,
    now: Time,
) -> Option<Loss> {
    let is_production =
        snapshot.apps.get(app).is_some_and(|app| app.value.class == Class::Production);
    if !is_production || snapshot.nodes.len() < 2 {
        return None;
    }
    let ones = losses(snapshot, rules, now).into_iter().filter(|loss| loss.nodes.len() == 1);
    ones.map(Loss::but_for_volumes).find(|loss| loss.apps(Class::Production).contains(app))
}

struct World {
    snapshot: Snapshot,
    ids: Numbers,
    preempted: BTreeSet<UnitId>,
}

/// Names that no real unit has.
struct Numbers(u64);

impl Ids for Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("imagined-{}", self.0)
    }
}

impl World {
    /// Lets plans come true until nothing changes. Gives what is waited for then.
    fn settle(&mut self, rules: &Rules, now: Time) -> Vec<Waiting> {
        let router = RouterStatus {
            epoch: 0,
            version: self.snapshot.table_version,
            draining: BTreeMap::new(),
            heard: now,
        };
        self.snapshot.routers.clear();
        if let Some(node) = self.snapshot.nodes.keys().next() {
            self.snapshot.routers.insert(node.clone(), router);
        }
        let units: Vec<Unit> =
            self.snapshot.units.values().map(|unit| unit.value.clone()).collect();
        for unit in units {
            self.settle_unit(Versioned { value: unit, revision: 0 }, now);
        }
        for _ in 0..MAX_PASSES {
            let plan = plan(&self.snapshot, rules, now, &mut self.ids);
            let preempted = plan.waiting.iter().filter(|waiting| waiting.code == "preempted");
            self.preempted.extend(preempted.filter_map(|waiting| waiting.unit.clone()));
            let mut is_still = true;
            for action in plan.actions {
                is_still &= matches!(action, Action::KnowNode { .. });
                self.apply(action, now);
            }
            if is_still {
                return plan.waiting;
            }
        }
        Vec::new()
    }

    fn apply(&mut self, action: Action, now: Time) {
        let snapshot = &mut self.snapshot;
        match action {
            Action::KnowNode { .. } => {}
            Action::StartUnit(unit) => {
                self.settle_unit(Versioned { value: unit, revision: 0 }, now)
            }
            Action::MoveUnit(unit) => self.settle_unit(unit, now),
            Action::ForgetUnit(unit) => {
                snapshot.units.remove(&unit.value.id);
            }
            Action::EndDeploy { app, release } => {
                let key = (app.value.name.clone(), release.value.number);
                snapshot.releases.insert(key, *release);
                snapshot.apps.insert(app.value.name.clone(), *app);
            }
            Action::Settle(app) => {
                snapshot.apps.insert(app.value.name.clone(), app);
            }
            Action::ForgetApp(app) => {
                snapshot.apps.remove(&app.value.name);
            }
        }
    }

    /// It serves, or is gone.
    fn settle_unit(&mut self, unit: Versioned<Unit>, now: Time) {
        let (snapshot, id) = (&mut self.snapshot, unit.value.id.clone());
        if !unit.value.is_wanted() {
            snapshot.units.remove(&id);
            return;
        }
        let is_once = unit.value.kind == model::unit::UnitKind::ReleasePhase;
        let status = UnitStatus {
            phase: if is_once { Phase::Finished } else { Phase::Ready },
            address: None,
            published: None,
            restarts: 0,
            since: now,
            trouble: None,
        };
        snapshot.statuses.insert(id.clone(), status);
        snapshot.entered_routes_at.insert(id.clone(), snapshot.table_version);
        snapshot.units.insert(id, unit);
    }
}
