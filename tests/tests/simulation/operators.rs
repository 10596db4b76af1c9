//! Operators who label nodes, take them off duty, and replace a machine by an empty one of the same name, as the API does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use controller::records::{CommitError, Document, Write};
use model::app::App;
use model::node::{Duty, NodeSpec};
use model::snapshot::Versioned;
use model::standing::standing;
use model::time::Time;
use model::unit::Unit;
use tokio::time::Instant;

use crate::brain::Life;
use crate::dice::Dice;
use crate::host::name;
use crate::people::{self, Failure, WRITE_ATTEMPTS};
use crate::world::World;

/// How long an operator waits for a node to become empty.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The label that operators give and take.
pub const LABEL: &str = "zone";
/// Its values.
pub const ZONES: [&str; 2] = ["a", "b"];

/// What an operator does to a node.
#[derive(Debug, Clone)]
pub enum Chore {
    /// Gives it a zone, or takes it away.
    Label(Option<&'static str>),
    /// It keeps its units and gets no new ones.
    Cordon,
    /// Its units move away.
    Drain,
    /// It takes units again.
    Open,
    /// The machine goes and an empty one of its name comes.
    Replace,
}

impl Chore {
    /// Something an operator may do.
    pub fn any(dice: &mut Dice) -> Chore {
        match dice.below(10) {
            0..3 => Chore::Label(dice.percent(70).then(|| *dice.pick(&ZONES))),
            3 => Chore::Cordon,
            4..6 => Chore::Drain,
            6..8 => Chore::Open,
            _ => Chore::Replace,
        }
    }

    /// Does it, and tells how it went.
    pub async fn tell(self, world: World, node: usize) {
        let trace = world.ground.trace.clone();
        trace.say(format!("operator: {self:?} {}", name(node)));
        let done = match self {
            Chore::Replace => replace(&world, node).await,
            chore => change(&world, node, |spec, now| chore.applied(spec, now)).await,
        };
        match done {
            Ok(()) => trace.say(format!("operator done: {}", name(node))),
            Err(why) => trace.say(format!("operator did not: {}: {why}", name(node))),
        }
    }

    fn applied(&self, mut spec: NodeSpec, now: Time) -> NodeSpec {
        match self {
            Chore::Label(zone) => {
                spec.labels = zone.iter().map(|it| (LABEL.to_owned(), (*it).to_owned())).collect();
            }
            Chore::Cordon => spec.duty = Duty::Cordoned,
            Chore::Drain => spec.duty = Duty::Draining { since: now },
            Chore::Open | Chore::Replace => spec.duty = Duty::Open,
        }
        spec
    }
}

/// All nodes are members and take units again.
pub async fn restore_order(world: &World) -> Result<(), String> {
    let end = Instant::now() + 3 * PATIENCE;
    while world.is_replacing() {
        if Instant::now() > end {
            return Err("a machine is still being replaced".to_owned());
        }
        world.pass(LOOK_EVERY).await;
    }
    for node in 0..world.hosts.len() {
        while let Err(why) = change(world, node, |spec, now| Chore::Open.applied(spec, now)).await {
            if Instant::now() > end {
                return Err(format!("{} could not be opened: {why}", name(node)));
            }
            if is_removed(world, node).await {
                exchange(world, node).await?;
            }
            world.pass(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// A controller to ask, not on `node`: of those that run, the one that leads if there is one.
fn life(world: &World, node: usize) -> Result<Arc<Life>, String> {
    let lives = world.brains.iter().enumerate().filter(|(index, _)| *index != node);
    let lives = lives.filter_map(|(_, brain)| brain.life());
    lives.max_by_key(|life| life.mind.leader.is_leading()).ok_or_else(|| "no controller".to_owned())
}

async fn find(life: &Life, node: usize) -> Result<Versioned<NodeSpec>, Failure> {
    let key = format!("{}{}", NodeSpec::PREFIX, name(node));
    life.records.get_now::<NodeSpec>(&key).await?.ok_or(Failure::Name)
}

/// Whether somebody took it out who did not hear that it was done.
async fn is_removed(world: &World, node: usize) -> bool {
    let Ok(life) = life(world, node) else { return false };
    alive(&life, find(&life, node)).await.is_ok_and(|known| !known.value.is_member())
}

async fn change(
    world: &World,
    node: usize,
    make: impl Fn(NodeSpec, Time) -> NodeSpec,
) -> Result<(), String> {
    let life = life(world, node)?;
    let changing = async {
        for _ in 0..WRITE_ATTEMPTS {
            let known = find(&life, node).await?;
            if !known.value.is_member() {
                return Err(Failure::Name);
            }
            let spec = make(known.value.clone(), Time(life.clock.now_ms()));
            if spec == known.value {
                return Ok(());
            }
            match life.records.commit(Write::new().replace(&spec, known.revision)).await {
                Ok(_) => {
                    life.wake.kick();
                    return Ok(());
                }
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    };
    alive(&life, changing).await.map_err(|failure| failure.to_string())
}

/// Nobody waits for a controller that ended.
async fn alive<T>(
    life: &Life,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = life.stop.wait() => Err(CommitError::NoQuorum.into()),
        done = work => done,
    }
}

/// One machine at a time: drained or lost, removed, and after a while an empty one joins under its name.
async fn replace(world: &World, node: usize) -> Result<(), String> {
    let Some(_turn) = world.begins_replacing() else { return Err("another is replaced".into()) };
    change(world, node, |spec, now| Chore::Drain.applied(spec, now)).await?;
    exchange(world, node).await
}

/// The machine goes, and an empty one joins. If it cannot go it stays, with its duty as somebody finds it.
async fn exchange(world: &World, node: usize) -> Result<(), String> {
    leave(world, node).await?;
    world.ground.network.set_away(node, true);
    world.wipe(node);
    tokio::time::sleep(Duration::from_secs(3 + node as u64)).await;
    loop {
        if let Ok(life) = life(world, node)
            && alive(&life, join(world, &life, node)).await.is_ok()
        {
            world.ground.network.set_member(node, node < world.brains.len());
            put_back(world, node);
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn leave(world: &World, node: usize) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        if Instant::now() > end {
            return Err("it does not become empty".to_owned());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(life) = life(world, node) else { continue };
        // A machine whose disk has the only copy of an image is not let go.
        if world.ground.registries.needs(node) {
            continue;
        }
        if alive(&life, give_up_volumes(&life, node)).await.is_err() {
            continue;
        }
        let is_lost = {
            let view = life.mind.view.borrow();
            standing(&view.snapshot, &name(node), view.as_of).is_lost()
        };
        if is_lost {
            // So that nothing runs on it any more, whoever reaches it.
            world.ground.network.set_away(node, true);
            world.power_off(node);
        }
        let left = alive(&life, remove(world, &life, node, is_lost)).await;
        match left {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(_) => put_back(world, node),
        }
    }
}

/// Nobody takes out a machine that has the only copy of something.
async fn give_up_volumes(life: &Arc<Life>, node: usize) -> Result<(), Failure> {
    for app in life.records.all::<App>().await? {
        let mut volumes = app.value.volumes.values();
        if app.value.destroyed.is_none() && volumes.any(|volume| volume.node == name(node)) {
            people::give_up_volume(&app.value.name, life).await?;
        }
    }
    Ok(())
}

fn put_back(world: &World, node: usize) {
    world.ground.network.set_away(node, false);
    world.power_on(node);
}

/// Whether it was removed: a machine that is there and has units is not.
async fn remove(world: &World, life: &Life, node: usize, is_lost: bool) -> Result<bool, Failure> {
    let known = find(life, node).await?;
    let mut units = life.records.all::<Unit>().await?;
    units.retain(|unit| unit.value.node == name(node));
    if known.value.is_member() && !is_lost && !units.is_empty() {
        return Ok(false);
    }
    world.ground.network.set_member(node, false);
    let removed = Duty::Removed { at: Time(life.clock.now_ms()) };
    let spec = NodeSpec { duty: removed, ..known.value };
    if let Err(error) = life.records.commit(Write::new().replace(&spec, known.revision)).await {
        world.ground.network.set_member(node, node < world.brains.len());
        return Err(error.into());
    }
    for unit in units {
        // The planner is at the same work.
        let _ = life.records.commit(Write::new().delete(&unit.value, unit.revision)).await;
    }
    life.wake.kick();
    Ok(true)
}

async fn join(world: &World, life: &Life, node: usize) -> Result<(), Failure> {
    let known = find(life, node).await?;
    if known.value.is_member() {
        // The answer was lost.
        return Ok(());
    }
    let (now, admission) = (Time(life.clock.now_ms()), format!("machine {}", known.revision));
    world.ground.network.set_badge(node, &admission);
    let labels = BTreeMap::new();
    let spec = NodeSpec { labels, duty: Duty::Open, joined: now, admission, ..known.value };
    life.records.commit(Write::new().replace(&spec, known.revision)).await?;
    Ok(())
}
