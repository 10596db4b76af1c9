//! What goes wrong: each seed allows some kinds, so that each is also tried without the others.

use std::time::Duration;

use tokio::time::Instant;

use crate::dice::Dice;
use crate::network::StoreWay;
use crate::world::World;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ControllerKilled,
    ControllerStopped,
    StoreCut,
    StoreSlow,
    StoreSilent,
    StoreFull,
    AnswersLost,
    WritesLate,
    AgentKilled,
    PowerOff,
    NodeCut,
    ControllerUnheard,
    OneWay,
    PeersCut,
    LinksSlow,
    MessagesLost,
    MessagesTwice,
    ClockJump,
    UnitCrash,
    DockerDown,
    RegistryDown,
    RouterDown,
    HistoryCompacted,
}

/// All kinds.
pub const KINDS: [Kind; 23] = [
    Kind::ControllerKilled,
    Kind::ControllerStopped,
    Kind::StoreCut,
    Kind::StoreSlow,
    Kind::StoreSilent,
    Kind::StoreFull,
    Kind::AnswersLost,
    Kind::WritesLate,
    Kind::AgentKilled,
    Kind::PowerOff,
    Kind::NodeCut,
    Kind::ControllerUnheard,
    Kind::OneWay,
    Kind::PeersCut,
    Kind::LinksSlow,
    Kind::MessagesLost,
    Kind::MessagesTwice,
    Kind::ClockJump,
    Kind::UnitCrash,
    Kind::DockerDown,
    Kind::RegistryDown,
    Kind::RouterDown,
    Kind::HistoryCompacted,
];

/// A fault under way: of a kind, on a machine and perhaps another.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub kind: Kind,
    pub at: usize,
    pub other: usize,
    pub until: Instant,
}

impl Fault {
    /// One that may happen now.
    pub fn any(kinds: &[Kind], world: &World, dice: &mut Dice) -> Fault {
        let kind = *dice.pick(kinds);
        let nodes = world.hosts.len();
        let of_controllers = matches!(
            kind,
            Kind::ControllerKilled
                | Kind::ControllerStopped
                | Kind::StoreCut
                | Kind::StoreSlow
                | Kind::AnswersLost
                | Kind::WritesLate
                | Kind::ControllerUnheard
                | Kind::ClockJump
        );
        let at =
            dice.below(if of_controllers { world.brains.len() } else { nodes } as u64) as usize;
        let other = (at + 1 + dice.below(nodes as u64 - 1) as usize) % nodes;
        let lasts =
            if dice.percent(25) { dice.millis(10_000, 45_000) } else { dice.millis(100, 9_000) };
        Fault { kind, at, other, until: Instant::now() + lasts }
    }

    /// Two of a kind in one place are one.
    pub fn is_like(&self, other: &Fault) -> bool {
        let is_everywhere = self.kind == Kind::StoreFull;
        self.kind == other.kind && (is_everywhere || self.at == other.at)
    }

    /// Makes it happen.
    pub fn begin(&self, world: &World, dice: &mut Dice) {
        let network = &world.ground.network;
        match self.kind {
            Kind::ControllerKilled => world.brains[self.at].kill(),
            Kind::ControllerStopped => world.brains[self.at].stop(),
            Kind::StoreCut => network.store(self.at, |way| way.cuts += 1),
            Kind::StoreSlow => network.store(self.at, |way| way.slow_ms = 1_800),
            Kind::StoreSilent => every_way(world, |way| way.cuts += 1),
            Kind::StoreFull => network.set_full(true),
            Kind::AnswersLost => network.store(self.at, |way| way.loses = 20),
            Kind::WritesLate => network.store(self.at, |way| way.late = 20),
            Kind::AgentKilled => world.stop_agent(self.at),
            Kind::PowerOff => world.power_off(self.at),
            Kind::NodeCut => world.cut_off(self.at, true),
            Kind::ControllerUnheard => {
                (0..world.hosts.len()).filter(|node| *node != self.at).for_each(|node| {
                    network.cut(node, self.at, true);
                });
            }
            Kind::OneWay => network.cut(self.at, self.other, true),
            Kind::PeersCut => {
                network.cut(self.at, self.other, true);
                network.cut(self.other, self.at, true);
            }
            Kind::LinksSlow => network.set_messages(Some(dice.between(100, 1_500)), None, None),
            Kind::MessagesLost => network.set_messages(None, Some(dice.between(5, 35)), None),
            Kind::MessagesTwice => network.set_messages(None, None, Some(30)),
            Kind::ClockJump => {
                let skews = [-3_600_000, 3_600_000, -60_000, 60_000, 0];
                world.brains[self.at].set_clock(*dice.pick(&skews));
            }
            Kind::UnitCrash => world.crash_any(self.at, dice),
            Kind::DockerDown => world.set_docker(self.at, true),
            Kind::RegistryDown => world.ground.registries.set_down(self.at, true),
            Kind::RouterDown => world.edges[self.at].stop(),
            Kind::HistoryCompacted => world.compact(),
        }
    }

    /// Undoes it.
    pub fn end(&self, world: &World) {
        let network = &world.ground.network;
        match self.kind {
            Kind::ControllerKilled | Kind::ControllerStopped => world.start_controller(self.at),
            Kind::StoreCut => network.store(self.at, |way| way.cuts = way.cuts.saturating_sub(1)),
            Kind::StoreSlow => network.store(self.at, |way| way.slow_ms = 0),
            Kind::StoreSilent => every_way(world, |way| way.cuts = way.cuts.saturating_sub(1)),
            Kind::StoreFull => network.set_full(false),
            Kind::AnswersLost => network.store(self.at, |way| way.loses = 0),
            Kind::WritesLate => network.store(self.at, |way| way.late = 0),
            Kind::AgentKilled => world.start_agent(self.at),
            Kind::PowerOff => world.power_on(self.at),
            Kind::NodeCut => world.cut_off(self.at, false),
            Kind::ControllerUnheard => {
                (0..world.hosts.len()).filter(|node| *node != self.at).for_each(|node| {
                    network.cut(node, self.at, false);
                });
            }
            Kind::OneWay => network.cut(self.at, self.other, false),
            Kind::PeersCut => {
                network.cut(self.at, self.other, false);
                network.cut(self.other, self.at, false);
            }
            Kind::LinksSlow => network.set_messages(Some(0), None, None),
            Kind::MessagesLost => network.set_messages(None, Some(0), None),
            Kind::MessagesTwice => network.set_messages(None, None, Some(0)),
            Kind::ClockJump | Kind::UnitCrash | Kind::HistoryCompacted => {}
            Kind::DockerDown => world.set_docker(self.at, false),
            Kind::RegistryDown => world.ground.registries.set_down(self.at, false),
            Kind::RouterDown => world.start_router(self.at),
        }
    }
}

/// The store's members are busy with themselves: no controller gets an answer.
fn every_way(world: &World, change: impl Fn(&mut StoreWay)) {
    for controller in 0..world.brains.len() {
        world.ground.network.store(controller, &change);
    }
}

/// The faults of a seed as they come and go.
pub struct Nemesis {
    kinds: Vec<Kind>,
    dice: Dice,
    under_way: Vec<Fault>,
    /// Between two faults, at most.
    pause_ms: u64,
    next: Instant,
}

impl Nemesis {
    /// Some kinds, at some rate.
    pub fn new(mut dice: Dice) -> Nemesis {
        let often = dice.between(5, 60);
        let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| dice.percent(often)).collect();
        if kinds.is_empty() {
            kinds.push(*dice.pick(&KINDS));
        }
        let pause_ms = *dice.pick(&[800, 3_000, 12_000]);
        let next = Instant::now() + Duration::from_secs(8);
        Nemesis { kinds, dice, under_way: Vec::new(), pause_ms, next }
    }

    /// What this seed allows.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Ends what is over, and begins what is due.
    pub fn step(&mut self, world: &World) {
        let now = Instant::now();
        for fault in self.under_way.extract_if(.., |fault| fault.until <= now) {
            world.ground.trace.say(format!("over: {:?} at {}", fault.kind, fault.at));
            fault.end(world);
        }
        if now < self.next {
            return;
        }
        self.next = now + self.dice.millis(1, self.pause_ms);
        let fault = Fault::any(&self.kinds, world, &mut self.dice);
        if self.under_way.iter().any(|it| it.is_like(&fault)) {
            return;
        }
        world
            .ground
            .trace
            .say(format!("FAULT {:?} at {} and {}", fault.kind, fault.at, fault.other));
        fault.begin(world, &mut self.dice);
        self.under_way.push(fault);
    }
}
