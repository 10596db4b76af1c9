//! Simulation: the real planners, election, gateway and agent engines over one store in memory, in paused time, with everything
//! random from one seed, so that whatever breaks can be seen again.
//!
//! ```text
//!   people ─► API rules ─┐                  ┌─ orders ──► agent engine ─► containers in memory
//!                        ▼                  │
//!   controllers ×3 ─► door ─► ledger   mind ┤  (network: cut, slow, lost, twice)
//!                              │            │
//!                         checks each write └─ tables ──► small router        truth: what is really so
//! ```
//!
//! Histories have exclusive types, labels, classes, nodes that are drained and machines that are replaced, and a model of the
//! registries. Each promise was seen to break once, when the product was made wrong on purpose:
//!
//! | promise | broke when |
//! |---|---|
//! | memory is never overcommitted | placement forgot the units that are there |
//! | releases are numbered once | a number was not counted up and a release could be written over |
//! | an acknowledged change is never lost | apps were replaced without comparing their revision |
//! | units only move forward | a drained unit was told to run again |
//! | one leads at a time | the lead was taken after 0.9 s of silence |
//! | only the leader decides | writes did not compare the epoch |
//! | traffic goes off before a unit stops | drained units stopped at once, or before all routers were heard |
//! | no unit of a settled app goes below its count | of two units of one number the one that serves was let go |
//! | an exclusive unit never runs twice | a unit counted as ended while it ran |
//!
//! `docs/scenarios.md` lists the faults that have names. `TRIREME_SEEDS=10000 cargo xtask test every_seed` runs more seeds (from `TRIREME_FROM`), `TRIREME_SEED=7` shows one.

#![expect(clippy::unwrap_used, reason = "a promise that is broken ends the run")]

mod brain;
mod dice;
mod door;
mod edge;
mod faults;
mod host;
mod ledger;
mod network;
mod operators;
mod people;
mod registry;
mod run;
mod scenarios;
mod trace;
mod truth;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::run;

/// Seeds of every run of all tests.
const SEEDS: u64 = 250;
/// Lines shown of a failing seed.
const SHOWN_LINES: usize = 250;

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: `{text}`")))
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("TRIREME_SEED") {
        let outcome = run(seed);
        let shown = outcome.trace.join("\n");
        assert_eq!(outcome.broken, None, "seed {seed}\n{shown}");
        return;
    }
    let from = number("TRIREME_FROM").unwrap_or(0);
    let (next, end) = (AtomicU64::new(from), from + number("TRIREME_SEEDS").unwrap_or(SEEDS));
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = run(seed);
                    if let Some(how) = outcome.broken {
                        broken.lock().unwrap().push((seed, how, outcome.trace));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap();
    broken.sort_by_key(|(seed, ..)| *seed);
    let Some((seed, how, trace)) = broken.first() else { return };
    let seeds: Vec<String> = broken.iter().map(|(seed, how, _)| format!("{seed}: {how}")).collect();
    let last = trace[trace.len().saturating_sub(SHOWN_LINES)..].join("\n");
    panic!(
        "{} of {} seeds broke a promise:\n{}\n\nthe end of seed {seed} ({how}):\n{last}\n\n\
         Again: TRIREME_SEED={seed} cargo xtask test every_seed_keeps_every_promise",
        broken.len(),
        end - from,
        seeds.join("\n"),
    );
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [3, 11, 42] {
        let (first, second) = (run(seed), run(seed));
        let differ = first.trace.iter().zip(&second.trace).position(|(one, other)| one != other);
        if let Some(at) = differ {
            let (one, other) = (&first.trace[at], &second.trace[at]);
            panic!("seed {seed} differs at line {at}:\n{one}\n{other}");
        }
        assert_eq!(first.trace.len(), second.trace.len());
    }
}
