//! What lies between the machines, and between the controllers and the store.
//!
//! The store has a member beside each controller. It answers a controller while most of its members are on and not cut off, and
//! that controller's own is among them.
//!
//! A message is lost with its connection, as TCP does it: whoever followed a stream has to ask anew. No two links ever
//! take equally long, so that what is sent at one moment arrives in one order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::faults::Fault;

use crate::dice::Dice;

/// A cheap handle on all of it. Machines have numbers; controller `n` runs on machine `n`.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cuts: BTreeMap<(usize, usize), u32>,
    /// Extra time of every message, at most.
    pub slow_ms: u64,
    /// Messages lost, and delivered twice, in a hundred.
    pub lost: u64,
    pub twice: u64,
    on: BTreeMap<usize, Machine>,
    stores: BTreeMap<usize, StoreWay>,
    /// Machines with a member of the store.
    members: BTreeSet<usize>,
    /// What the certificates of a machine carry; nothing on those the cluster began with.
    badges: BTreeMap<usize, String>,
    /// Machines that an operator switched off for good.
    away: BTreeSet<usize>,
    /// Machines cut off from all others, so many times over.
    apart: BTreeMap<usize, u32>,
    /// The store's disks are full: nothing is written.
    is_full: bool,
}

/// What of a machine answers its peers.
#[derive(Clone, Copy, Default)]
struct Machine {
    is_on: bool,
    has_agent: bool,
}

/// How one controller's way to the store is.
#[derive(Clone, Copy, Default)]
pub struct StoreWay {
    /// Nothing passes, so many times over.
    pub cuts: u32,
    /// Calls take up to this long.
    pub slow_ms: u64,
    /// Answers lost, in a hundred.
    pub loses: u64,
    /// Writes done only after they were given up, in a hundred.
    pub late: u64,
}

/// Links whose numbers differ never take equally long.
const LINKS: u64 = 32;

impl Network {
    /// A perfect one, with so many members of the store on the first machines.
    pub fn new(members: usize) -> Network {
        let state = State { members: (0..members).collect(), ..State::default() };
        Network(Arc::new(Mutex::new(state)))
    }

    /// Cuts a machine off from `others`, or mends that once.
    pub fn cut_off(&self, machine: usize, others: usize, is_cut: bool) {
        for other in (0..others).filter(|other| *other != machine) {
            self.cut(machine, other, is_cut);
            self.cut(other, machine, is_cut);
        }
        let mut state = self.lock();
        let apart = state.apart.entry(machine).or_default();
        *apart = if is_cut { *apart + 1 } else { apart.saturating_sub(1) };
    }

    /// A machine's member of the store is let go, or taken in again.
    pub fn set_member(&self, machine: usize, is_member: bool) {
        let mut state = self.lock();
        if is_member {
            state.members.insert(machine);
        } else {
            state.members.remove(&machine);
        }
    }

    /// What a machine's certificates carry.
    pub fn badge(&self, machine: usize) -> String {
        self.lock().badges.get(&machine).cloned().unwrap_or_default()
    }

    /// An operator switches a machine off for good, or puts it, or another, back.
    pub fn set_away(&self, machine: usize, is_away: bool) {
        let mut state = self.lock();
        if is_away {
            state.away.insert(machine);
        } else {
            state.away.remove(&machine);
        }
    }

    /// Whether nobody but an operator switches it on.
    pub fn is_away(&self, machine: usize) -> bool {
        self.lock().away.contains(&machine)
    }

    /// It gets others.
    pub fn set_badge(&self, machine: usize, admission: &str) {
        self.lock().badges.insert(machine, admission.to_owned());
    }

    /// The store's disks are full, or not any more.
    pub fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// Whether the store refuses to write.
    pub fn is_full(&self) -> bool {
        self.lock().is_full
    }

    /// Cuts, or mends once, the way from one machine to another.
    pub fn cut(&self, from: usize, to: usize, is_cut: bool) {
        let mut state = self.lock();
        let cuts = state.cuts.entry((from, to)).or_default();
        *cuts = if is_cut { *cuts + 1 } else { cuts.saturating_sub(1) };
    }

    /// Whether messages pass. A machine always reaches itself.
    pub fn passes(&self, from: usize, to: usize) -> bool {
        let state = self.lock();
        from == to || state.cuts.get(&(from, to)).is_none_or(|cuts| *cuts == 0)
    }

    /// Whether connections can be made.
    pub fn is_open(&self, one: usize, other: usize) -> bool {
        self.passes(one, other) && self.passes(other, one)
    }

    /// Makes every message slower, lost or doubled.
    pub fn set_messages(&self, slow_ms: Option<u64>, lost: Option<u64>, twice: Option<u64>) {
        let mut state = self.lock();
        state.slow_ms = slow_ms.unwrap_or(state.slow_ms);
        state.lost = lost.unwrap_or(state.lost);
        state.twice = twice.unwrap_or(state.twice);
    }

    /// How long a message takes on a link.
    pub fn latency(&self, link: u64, dice: &mut Dice) -> Duration {
        let steps = dice.below(self.lock().slow_ms / LINKS + 1);
        Duration::from_millis(steps * LINKS + link % LINKS + 1)
    }

    /// Whether a message is lost.
    pub fn loses(&self, dice: &mut Dice) -> bool {
        dice.percent(self.lock().lost)
    }

    /// Whether a message comes twice.
    pub fn doubles(&self, dice: &mut Dice) -> bool {
        dice.percent(self.lock().twice)
    }

    /// A machine was switched on or off, its agent started or ended.
    pub fn set_machine(&self, machine: usize, is_on: bool, has_agent: bool) {
        self.lock().on.insert(machine, Machine { is_on, has_agent });
    }

    /// Whether a machine is on.
    pub fn is_on(&self, machine: usize) -> bool {
        self.lock().on.get(&machine).is_some_and(|it| it.is_on)
    }

    /// How one machine's agent finds another's.
    pub fn sight(&self, from: usize, to: usize) -> model::node::Sight {
        let machine = self.lock().on.get(&to).copied().unwrap_or_default();
        match (self.is_open(from, to) && machine.is_on, machine.has_agent) {
            (true, true) => model::node::Sight::Reached,
            (true, false) => model::node::Sight::Refused,
            (false, _) => model::node::Sight::Silent,
        }
    }

    /// Changes a controller's way to the store.
    pub fn store(&self, controller: usize, change: impl FnOnce(&mut StoreWay)) {
        change(self.lock().stores.entry(controller).or_default());
    }

    /// What happens to a controller's next call.
    pub fn fate(&self, controller: usize, dice: &mut Dice) -> Fault {
        let state = self.lock();
        let way = state.stores.get(&controller).copied().unwrap_or_default();
        let has_quorum = state.has_quorum(controller);
        drop(state);
        if way.cuts > 0 || !has_quorum {
            return Fault::Cut;
        }
        if dice.percent(way.loses) {
            return Fault::LoseAnswer;
        }
        // Told apart by controller, as links are.
        let steps = dice.below(way.slow_ms / 4 + 2);
        Fault::Delay(Duration::from_millis(steps * 4 + controller as u64 % 4 + 1))
    }

    /// How late a write arrives that is given up before, if it does.
    pub fn lateness(&self, controller: usize, dice: &mut Dice) -> Option<Duration> {
        let late = self.lock().stores.get(&controller).map_or(0, |way| way.late);
        let steps = dice.percent(late).then(|| dice.between(500, 1_500))?;
        Some(Duration::from_millis(steps * 4 + controller as u64 % 4 + 1))
    }

    /// All is well from now on.
    pub fn heal(&self) {
        let mut state = self.lock();
        let before = std::mem::take(&mut *state);
        let State { on, members, badges, away, .. } = before;
        *state = State { on, members, badges, away, ..State::default() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_quorum(&self, machine: usize) -> bool {
        let answers = |member: &&usize| {
            self.on.get(member).is_some_and(|it| it.is_on)
                && self.apart.get(member).is_none_or(|cuts| *cuts == 0)
        };
        let answering = self.members.iter().filter(answers);
        self.members.contains(&machine)
            && answers(&&machine)
            && answering.count() * 2 > self.members.len()
    }
}
