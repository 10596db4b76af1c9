//! What shall be done next, decided from a snapshot alone.
//!
//! Pure: same snapshot, same time, same ids in, same plan out. Imports only `model`. An action
//! leaves no choice open and carries the revision it saw; `waiting` says what is wanted and cannot
//! be had now, in words a user reads. A second pass over an unchanged world plans nothing.

mod census;
mod demand;
pub mod home;
pub mod imagine;
pub mod nodes;
pub mod placement;
mod preemption;
pub mod regency;
pub mod retention;
pub mod rollout;
pub mod routes;

use model::app::App;
use model::name::{AppName, ProcessType, UnitId};
use model::node::NodeSpec;
use model::release::Release;
use model::snapshot::{Snapshot, Versioned};
use model::time::Time;
use model::unit::Unit;

use self::census::Census;
use self::placement::Room;
use self::rollout::Pass;

/// What one pass decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be applied, each by itself.
    pub actions: Vec<Action>,
    /// Wanted and not to be had now.
    pub waiting: Vec<Waiting>,
}

/// One conditional write. Documents are given as they shall be, with the revision they were read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A node was heard for the first time, or from elsewhere than before.
    KnowNode {
        /// As it shall be.
        spec: NodeSpec,
        /// The revision of what was known.
        revision: Option<u64>,
    },
    /// A new unit on a chosen node.
    StartUnit(Unit),
    /// A unit's desire moved forward.
    MoveUnit(Versioned<Unit>),
    /// A unit is gone; its document goes too.
    ForgetUnit(Versioned<Unit>),
    /// A rollout came to its end, well or not.
    EndDeploy {
        /// With `current`, `target` and `settled` as they shall be.
        app: Box<Versioned<App>>,
        /// With its final state.
        release: Box<Versioned<Release>>,
    },
    /// A change without a release came to its end.
    Settle(Versioned<App>),
    /// A destroyed app has no units left: all it owns goes.
    ForgetApp(Versioned<App>),
}

/// Something a planner wants and cannot have now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub app: AppName,
    /// Which type, if it is about one.
    pub process: Option<ProcessType>,
    /// Which unit, if it is about one.
    pub unit: Option<UnitId>,
    /// Stable: `no-room`, `no-node`, `no-label`, `volume`, `exclusive`, `drain`, `preempted`.
    pub code: &'static str,
    /// The reason, in words a user reads.
    pub reason: String,
}

/// Settings the planners need.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Memory of a unit without a limit of its own.
    pub default_memory_bytes: u64,
}

/// Makes unit ids. The only source of names in a plan, so that tests can repeat them.
pub trait Ids {
    /// A text that was never returned before and fits in a unit id.
    fn next(&mut self) -> String;
}

/// Plans for the whole cluster: what each app wants is looked at first, then room is given to all of them in one order, and then each app
/// does what follows from what it got.
pub fn plan(snapshot: &Snapshot, rules: &Rules, now: Time, ids: &mut dyn Ids) -> Plan {
    let mut plan = Plan::default();
    nodes::know(snapshot, now, &mut plan);
    let census = Census::of(snapshot, rules, now);
    let mut pass = Pass::new(&census, plan);
    let mut surveys: Vec<_> = snapshot.apps.values().map(|app| pass.survey(app)).collect();
    let demands = surveys.iter_mut().enumerate();
    let demands = demands.flat_map(|(number, survey)| survey.take_demands(number)).collect();
    let mut room = Room::of(snapshot, now);
    let served = demand::serve(demands, &census, &mut room, ids, &mut pass.plan);
    for answered in &served.answers {
        surveys[answered.demand.survey].hear(answered);
    }
    for survey in surveys {
        pass.conclude(survey, &served.preempted, &room);
    }
    pass.plan
}

#[cfg(test)]
mod tests;
