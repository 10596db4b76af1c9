//! A controller: the real mind of one, started, ended and killed, on a machine with a clock of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::election::Rivals;
use controller::mind::{self, Mind};
use controller::outside::Nobody;
use controller::plan::Rules;
use controller::records::Records;
use controller::seal::Seal;
use service::{Clock, Stop, Tasks, Wake};
use store::Store;

use crate::dice::Dice;
use crate::door::Door;
use crate::host::name;
use crate::ledger::{Hand, Ledger};
use crate::network::Network;
use crate::trace::Trace;
use crate::truth::Truth;

/// When simulations begin.
pub const START_MS: u64 = 1_700_000_000_000;
/// Memory of a unit without a limit.
pub const DEFAULT_MEMORY: u64 = 64 << 20;
/// The life of the simulated store.
const INCARNATION: &str = "simulated";
/// A supervisor starts a controller anew after this long.
const START_AGAIN: Duration = Duration::from_millis(700);

/// What controllers are started with.
#[derive(Clone)]
pub struct Ground {
    /// The seed.
    pub seed: u64,
    /// What lies between.
    pub network: Network,
    /// The store.
    pub ledger: Ledger,
    /// What is so.
    pub truth: Truth,
    /// What happened.
    pub trace: Trace,
}

/// A controller, running or not. Cheap to clone.
#[derive(Clone)]
pub struct Brain(Arc<Shared>);

struct Shared {
    index: usize,
    ground: Ground,
    skew_ms: Mutex<i64>,
    lives: AtomicUsize,
    life: Mutex<Option<Arc<Life>>>,
    /// Ends the current life, also while it is starting.
    ending: Mutex<Option<(Stop, Arc<AtomicBool>)>>,
}

/// One run of a controller.
pub struct Life {
    /// Its mind.
    pub mind: Mind,
    /// What its API writes through.
    pub records: Records,
    /// Its time.
    pub clock: Clock,
    /// Its sealing key.
    pub seal: Arc<Seal>,
    /// Wakes its planner.
    pub wake: Wake,
    /// Its end.
    pub stop: Stop,
}

impl Brain {
    /// Not running yet.
    pub fn new(index: usize, ground: Ground) -> Brain {
        Brain(Arc::new(Shared {
            index,
            ground,
            skew_ms: Mutex::default(),
            lives: AtomicUsize::new(0),
            life: Mutex::default(),
            ending: Mutex::default(),
        }))
    }

    /// The running life.
    pub fn life(&self) -> Option<Arc<Life>> {
        self.0.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it runs, or is starting.
    pub fn is_on(&self) -> bool {
        self.0.ending.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Sets the machine's clock off by so much; a running controller keeps the time it has.
    pub fn set_clock(&self, skew_ms: i64) {
        *self.0.skew_ms.lock().unwrap_or_else(PoisonError::into_inner) = skew_ms;
    }

    /// Starts it, as often as it takes to read the store.
    pub fn start(&self) {
        if self.is_on() {
            return;
        }
        let (stop, is_dead) = (Stop::new(), Arc::new(AtomicBool::new(false)));
        *self.0.ending.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((stop.clone(), is_dead.clone()));
        let brain = self.clone();
        tokio::spawn(async move {
            loop {
                let born = tokio::select! {
                    biased;
                    () = stop.wait() => return,
                    born = brain.bear(&stop, &is_dead) => born,
                };
                if let Some(life) = born {
                    *brain.0.life.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(Arc::new(life));
                    return;
                }
                tokio::time::sleep(START_AGAIN).await;
            }
        });
    }

    async fn bear(&self, stop: &Stop, is_dead: &Arc<AtomicBool>) -> Option<Life> {
        let Shared { index, ground, .. } = &*self.0;
        let index = *index;
        let number = self.0.lives.fetch_add(1, Ordering::SeqCst) as u64;
        let records = |hand, part| {
            let store: Arc<dyn Store> = ground.ledger.writer(index, hand);
            let dice = Dice::of(ground.seed, part, &[index as u64, number]);
            let door = Door::new(store, ground.network.clone(), index, dice, is_dead.clone());
            Records::new(Arc::new(door))
        };
        let skew_ms = *self.0.skew_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let passed_ms = ground.trace.passed_ms();
        let clock = Clock::steady_from((START_MS + passed_ms).saturating_add_signed(skew_ms));
        let (wake, seal) = (Wake::new(), Arc::new(Seal::new(&[7; 32])));
        let own = records(Hand::Planner, "planner's way");
        let (observer, view) = match mind::read(&own).await {
            Ok(read) => read,
            Err(error) => {
                ground.trace.say(format!("c{index} did not start: {error}"));
                return None;
            }
        };
        let mind = Mind::start(mind::Parts {
            node: name(index),
            records: own,
            observer,
            view,
            incarnation: INCARNATION.to_owned().into(),
            rivals: Rivals::Possible,
            seal: seal.clone(),
            rules: Rules { default_memory_bytes: DEFAULT_MEMORY },
            domain: "apps.localhost".to_owned(),
            clock: clock.clone(),
            ids: Box::new(Dice::of(ground.seed, "ids", &[index as u64, number])),
            outside: Arc::new(Nobody),
            wake: wake.clone(),
            tasks: Tasks::new(stop.clone()),
        });
        ground.trace.say(format!("c{index} started"));
        ground.truth.listens(index);
        let records = records(Hand::Api, "people's way");
        Some(Life { mind, records, clock, seal, wake, stop: stop.clone() })
    }

    /// Kills it: what it had under way may still arrive, what it has not sent never will.
    pub fn kill(&self) {
        self.end(true);
    }

    /// Stops it in order: it gives up the lead.
    pub fn stop(&self) {
        self.end(false);
    }

    fn end(&self, at_once: bool) {
        let ending = self.0.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, is_dead)) = ending {
            is_dead.store(at_once, Ordering::SeqCst);
            stop.set();
        }
        *self.0.life.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
