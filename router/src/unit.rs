//! A unit as the router sees it: how many requests are in flight to it, whether it left the table, its health and idle connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use model::name::UnitId;
use service::Gauge;
use tokio::sync::watch;

use crate::{balance, pool::Pool};

/// Set in the state of a unit that left the table; the other bits count requests in flight. One word, so that
/// choosing a unit and counting the request is one step.
const LEFT: u32 = 1 << 31;

/// What all units tell of themselves.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// A unit that left the table has no request in flight any more.
    pub emptied: watch::Sender<()>,
    /// Requests in flight to any unit.
    pub in_flight: Gauge,
}

/// One unit at one address. It may outlive its row in the table: until its last request ended.
#[derive(Debug)]
pub struct Unit {
    /// Which unit.
    pub id: UnitId,
    /// `host:port`.
    pub address: String,
    /// Connections to it that wait for a request.
    pub pool: Pool,
    state: AtomicU32,
    failures: AtomicU32,
    held_until_ms: AtomicU64,
    signals: Signals,
}

/// A request in flight to a unit. Counted from before it is sent until this is dropped.
#[derive(Debug)]
pub struct Claim(Arc<Unit>);

impl Unit {
    /// A unit without requests.
    pub fn new(id: UnitId, address: String, signals: Signals) -> Unit {
        Unit {
            id,
            address,
            pool: Pool::default(),
            state: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            held_until_ms: AtomicU64::new(0),
            signals,
        }
    }

    /// Counts a request; none if the unit left the table, and then a fresh table is there to choose from.
    pub fn claim(self: &Arc<Unit>) -> Option<Claim> {
        let before = self.state.fetch_add(1, Ordering::SeqCst);
        self.signals.in_flight.add(1);
        // Should the unit have left, dropping the claim takes the count back.
        let claim = Claim(self.clone());
        (before & LEFT == 0).then_some(claim)
    }

    /// Takes the unit out: from here on [`Unit::claim`] gives nothing and the count only falls. Call it after the new table is in place.
    pub fn leave(&self) {
        self.state.fetch_or(LEFT, Ordering::SeqCst);
        self.pool.close();
    }

    /// Takes the unit in again. Call it before the new table is in place.
    pub fn rejoin(&self) {
        self.pool.open();
        self.state.fetch_and(!LEFT, Ordering::SeqCst);
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.state.load(Ordering::SeqCst) & !LEFT
    }

    /// A connection to it could not be made or died: it is left alone for a while. Idle ones are no better.
    pub fn failed(&self, now: Duration) {
        self.pool.clear();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let until = now + balance::hold(failures);
        self.held_until_ms.store(millis(until), Ordering::Relaxed);
    }

    /// It is to be tried again after it was left alone: by one request, while the others still leave it alone.
    pub fn tries(&self, now: Duration) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            let until = now + balance::TRIAL;
            self.held_until_ms.fetch_max(millis(until), Ordering::Relaxed);
        }
    }

    /// A connection to it was made.
    pub fn worked(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.held_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it is left alone at this time.
    pub fn is_ejected(&self, now: Duration) -> bool {
        millis(now) < self.held_until_ms.load(Ordering::Relaxed)
    }
}

impl Claim {
    /// The unit that was chosen.
    pub fn unit(&self) -> &Arc<Unit> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.signals.in_flight.add(-1);
        if self.0.state.fetch_sub(1, Ordering::SeqCst) == LEFT | 1 {
            self.0.signals.emptied.send_replace(());
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Arc<Unit> {
        Arc::new(Unit::new("u1".parse().unwrap(), "127.0.0.1:1".to_owned(), Signals::default()))
    }

    #[test]
    fn a_unit_that_left_takes_no_request_and_keeps_its_count() {
        let unit = unit();
        let claim = unit.claim().unwrap();
        unit.leave();
        assert!(unit.claim().is_none());
        assert_eq!(unit.in_flight(), 1);
        drop(claim);
        assert_eq!((unit.in_flight(), unit.signals.in_flight.value()), (0, 0));
        unit.rejoin();
        assert!(unit.claim().is_some());
    }

    #[tokio::test]
    async fn the_last_request_of_a_unit_that_left_wakes_the_report() {
        let unit = unit();
        let mut emptied = unit.signals.emptied.subscribe();
        let (first, second) = (unit.claim().unwrap(), unit.claim().unwrap());
        unit.leave();
        drop(first);
        let early = tokio::time::timeout(Duration::from_millis(10), emptied.changed()).await;
        assert!(early.is_err(), "one is still in flight");
        drop(second);
        tokio::time::timeout(Duration::from_secs(5), emptied.changed()).await.unwrap().unwrap();
    }

    #[test]
    fn no_claim_slips_in_beside_a_leaving_unit() {
        for _ in 0..200 {
            let unit = unit();
            let claims = std::thread::scope(|scope| {
                let claimers: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| (0..50).map_while(|_| unit.claim()).collect::<Vec<_>>())
                    })
                    .collect();
                unit.leave();
                let seen = unit.in_flight();
                let claims: Vec<Claim> =
                    claimers.into_iter().flat_map(|claimer| claimer.join().unwrap()).collect();
                assert!(seen as usize >= claims.len(), "{seen} seen, {} in flight", claims.len());
                claims
            });
            drop(claims);
            assert_eq!(unit.in_flight(), 0);
        }
    }

    #[test]
    fn failures_hold_a_unit_back_and_a_success_forgets_them() {
        let (unit, second) = (unit(), Duration::from_secs(1));
        unit.failed(second);
        assert!(unit.is_ejected(second) && !unit.is_ejected(second + balance::FIRST_HOLD));
        unit.failed(second);
        assert!(unit.is_ejected(second + balance::FIRST_HOLD));
        let later = Duration::from_secs(9);
        unit.tries(later);
        assert!(unit.is_ejected(later), "one request tries it, the others do not");
        unit.worked();
        assert!(!unit.is_ejected(later));
        unit.tries(later);
        assert!(!unit.is_ejected(later), "nothing is tried with a unit that is well");
    }
}
