//! Units that are wanted and missing, of all apps, and in which order they are served.
//!
//! Scarcity order: what is missing in production before what is missing in standard apps and that before previews; within a class the first
//! unit of every type before the second of any; what is there already and only to be replaced comes last.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use model::app::{App, Class};
use model::name::{NodeName, ProcessType, UnitId};
use model::release::Release;
use model::snapshot::Versioned;
use model::time::Time;
use model::unit::{Desired, Unit, UnitKind};

use super::census::Census;
use super::home::Home;
use super::placement::{Need, Refusal, Room, Tags};
use super::preemption::{Victims, let_go};
use super::{Action, Ids, Plan, Waiting};

/// One unit that is wanted and missing.
#[derive(Debug, Clone)]
pub struct Demand<'a> {
    /// Which of the apps under survey.
    pub survey: usize,
    /// Whose.
    pub app: &'a App,
    /// What it shall run.
    pub release: &'a Release,
    /// Its type.
    pub process: ProcessType,
    /// Its number.
    pub ordinal: u32,
    /// The restart epoch of its type.
    pub epoch: u64,
    /// Whether it serves on or runs once.
    pub kind: UnitKind,
    /// Never two of its number.
    pub exclusive: bool,
    /// Labels its node must have.
    pub tags: &'a Tags,
    /// Which one of its type it makes, counting those that are there: 1 is the first.
    pub rank: u32,
    /// What is there for it.
    pub there: There,
    /// Of an exclusive type: the unit that must have ended before it starts.
    pub holder: Option<Holder>,
}

/// A unit that another one waits for.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Its name and node.
    pub name: String,
    /// Whether its node is lost, so that nothing can be done but to wait.
    pub is_lost: bool,
}

/// What is there in the place of a wanted unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// One that it shall replace, and that runs until then.
    Older,
    /// One on a node that is being drained. The node's name.
    Moving(String),
}

/// What became of a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It starts.
    Started,
    /// Room for it is being made, or it waits for one that ends by itself.
    Promised,
    /// It starts when the older one has ended.
    AfterTheOlder,
    /// There is no room.
    Refused,
}

/// A demand and its answer.
pub struct Answered<'a> {
    /// What was wanted.
    pub demand: Demand<'a>,
    /// What became of it.
    pub answer: Answer,
}

/// What became of all demands.
pub struct Served<'a> {
    /// Of each, in the order they were served.
    pub answers: Vec<Answered<'a>>,
    /// Units that are stopped for others.
    pub preempted: BTreeSet<UnitId>,
}

impl Demand<'_> {
    fn memory_bytes(&self, census: &Census<'_>) -> u64 {
        let own = self.release.limits(&self.process).memory_bytes;
        own.unwrap_or(census.rules.default_memory_bytes)
    }

    fn name(&self) -> String {
        format!("{}.{}", self.process, self.ordinal)
    }

    fn unit(&self, node: NodeName, memory_bytes: u64, created: Time, ids: &mut dyn Ids) -> Unit {
        let id = format!("{}-{}-{}", self.app.name, self.process, ids.next()).to_lowercase();
        let id = id.replace('_', "-").parse().expect("app, type and id make a unit id");
        Unit {
            id,
            app: self.app.name.clone(),
            process: self.process.clone(),
            ordinal: self.ordinal,
            release: self.release.number,
            epoch: self.epoch,
            kind: self.kind,
            node,
            memory_bytes,
            exclusive: self.exclusive,
            mounts: self.app.mounts_of(&self.process),
            created,
            desired: Desired::Run,
        }
    }

    /// Equal only for one and the same.
    fn order(&self) -> (Reverse<Class>, bool, u32, Time, &str, &str, u32) {
        let is_there = matches!(self.there, There::Older | There::Moving(_));
        let (app, process) = (self.app.name.as_str(), self.process.as_str());
        let class = Reverse(self.app.class);
        (class, is_there, self.rank, self.app.created, app, process, self.ordinal)
    }
}

/// Serves demands in their order: starts what fits, and makes room for what may take that of others.
pub fn serve<'a>(
    mut demands: Vec<Demand<'a>>,
    census: &Census<'_>,
    room: &mut Room,
    ids: &mut dyn Ids,
    plan: &mut Plan,
) -> Served<'a> {
    demands.sort_by(|one, other| one.order().cmp(&other.order()));
    let (victims, preempted) = (Victims::new(census), BTreeSet::new());
    let mut desk = Desk { census, room, ids, plan, victims, preempted };
    let answer = |demand: Demand<'a>| Answered { answer: desk.serve(&demand), demand };
    let answers = demands.into_iter().map(answer).collect();
    Served { answers, preempted: desk.preempted }
}

struct Desk<'d, 'c> {
    census: &'d Census<'c>,
    room: &'d mut Room,
    ids: &'d mut dyn Ids,
    plan: &'d mut Plan,
    victims: Victims<'d>,
    preempted: BTreeSet<UnitId>,
}

impl Desk<'_, '_> {
    fn serve(&mut self, demand: &Demand<'_>) -> Answer {
        let home = Home::of(demand.app, &demand.process);
        if let Some(why) = home.and_then(|home| home.closed(self.census.snapshot, self.census.now))
        {
            return self.refuse(demand, &Refusal { code: "volume", reason: why });
        }
        let memory_bytes = demand.memory_bytes(self.census);
        let need = Need {
            app: &demand.app.name,
            process: &demand.process,
            tags: demand.tags,
            home: home.map(|home| home.node()),
            memory_bytes,
            cpu_millis: demand.release.limits(&demand.process).cpu_millis.unwrap_or(0),
        };
        match (self.room.place(need), &demand.holder) {
            (Ok(node), None) => {
                let unit = demand.unit(node, memory_bytes, self.census.now, self.ids);
                self.plan.actions.push(Action::StartUnit(unit));
                Answer::Started
            }
            (Ok(_), Some(Holder { name, is_lost: false })) => {
                let reason = format!("{name} has to end first, the type is exclusive");
                self.wait(demand, "exclusive", &reason);
                Answer::AfterTheOlder
            }
            (Ok(_), Some(Holder { name, is_lost: true })) => {
                let reason = format!(
                    "the type is exclusive, and it is not certain yet that {name} has ended; a machine that will not come back is taken out with `clusterctl nodes:remove`"
                );
                self.wait(demand, "exclusive", &reason);
                Answer::Refused
            }
            (Err(refusal), _) => self.make_room(demand, need, &refusal),
        }
    }

    fn make_room(&mut self, demand: &Demand<'_>, need: Need<'_>, refusal: &Refusal) -> Answer {
        if refusal.code == "no-room" {
            if let Some(node) = self.room.promise(need) {
                let reason = format!("units that leave {node} make room for it");
                self.wait(demand, "no-room", &reason);
                return Answer::Promised;
            }
            if demand.there == There::Nothing
                && demand.holder.is_none()
                && let Some(taken) = self.victims.choose(demand.app.class, need, self.room)
            {
                self.preempt(demand, need, &taken);
                return Answer::Promised;
            }
        }
        self.refuse(demand, refusal)
    }

    fn refuse(&mut self, demand: &Demand<'_>, refusal: &Refusal) -> Answer {
        let reason = match &demand.there {
            There::Moving(_) if refusal.code == "volume" => format!(
                "{}; it stays there until the type no longer mounts it (`paasctl volumes:unmount`) or the node is open again",
                refusal.reason
            ),
            There::Moving(node) => {
                format!(
                    "it stays on {node}, which is being drained, until there is room elsewhere: {}",
                    refusal.reason
                )
            }
            There::Nothing | There::Older if refusal.code == "no-room" => {
                self.victims.above(demand.app.class, refusal)
            }
            There::Nothing | There::Older => refusal.reason.clone(),
        };
        let code = if matches!(demand.there, There::Moving(_)) { "drain" } else { refusal.code };
        self.wait(demand, code, &reason);
        Answer::Refused
    }

    /// Stops others for it.
    fn preempt(&mut self, demand: &Demand<'_>, need: Need<'_>, taken: &[&Versioned<Unit>]) {
        let mut names = Vec::new();
        for victim in taken {
            self.room.leave(&victim.value, self.census.snapshot.is_up_to_date(&victim.value));
            self.preempted.insert(victim.value.id.clone());
            self.plan.actions.push(let_go(victim, self.census.now));
            let unit = &victim.value;
            names.push(format!("{} {}", unit.app, unit.display_name()));
            self.plan.waiting.push(Waiting {
                app: unit.app.clone(),
                process: Some(unit.process.clone()),
                unit: Some(unit.id.clone()),
                code: "preempted",
                reason: format!(
                    "{} is stopped: {} {} is of a higher class and needs its room; add a node to run both",
                    unit.display_name(),
                    demand.app.name,
                    demand.name()
                ),
            });
        }
        let node = self.room.promise(need).map(|node| node.to_string()).unwrap_or_default();
        let reason = format!("{} on {node} is stopped to make room for it", names.join(", "));
        self.wait(demand, "no-room", &reason);
    }

    fn wait(&mut self, demand: &Demand<'_>, code: &'static str, reason: &str) {
        self.plan.waiting.push(Waiting {
            app: demand.app.name.clone(),
            process: Some(demand.process.clone()),
            unit: None,
            code,
            reason: format!("{} waits: {reason}", demand.name()),
        });
    }
}
