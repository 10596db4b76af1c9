//! When this node may run exclusive units, those that never run twice. The rule is pure; the handle shares it.
//!
//! ```text
//!   a beat acknowledged by a leader ──► streams opened from then on bring orders ──► exclusive units may run
//!   6 s after the sending of the newest such beat ──► they end, and all begins anew
//! ```
//!
//! A leader gives such a unit to another node 8 s after it received this node's last beat. What it received was sent before, so
//! 6 s after the sending and 1 s for the kill end before that, by clocks that need only run at one rate. Orders from before a
//! silence may be what was true then: they count only on streams opened after a beat was acknowledged again. An agent that
//! was just started knows of no beat: it ends exclusive units it finds, and the leader's orders start them anew.

use std::{sync::Arc, time::Duration};

use service::Clock;
use tokio::sync::{Notify, watch};

/// How long an acknowledged beat lets exclusive units run.
pub const FALLS_AFTER: Duration = Duration::from_secs(6);
/// How long an exclusive unit may take to end when the fence has fallen.
pub const GRACE: Duration = Duration::from_secs(1);

/// What the rule knows. Times are monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Proof {
    /// When the newest beat that a leader acknowledged was sent.
    beat_sent: Option<Duration>,
    /// When the first of an unbroken row of such beats was acknowledged.
    proven_since: Option<Duration>,
    /// From when on the streams were opened that last brought orders.
    ordered_since: Option<Duration>,
}

impl Proof {
    fn falls(&self) -> Duration {
        self.beat_sent.map_or(Duration::ZERO, |sent| sent + FALLS_AFTER)
    }

    fn acknowledged(&mut self, sent: Duration, now: Duration) {
        let is_late = now >= sent + FALLS_AFTER;
        if is_late {
            return;
        }
        if now >= self.falls() {
            self.proven_since = Some(now);
        }
        self.beat_sent = self.beat_sent.max(Some(sent));
    }

    fn ordered(&mut self, since: Duration) {
        self.ordered_since = self.ordered_since.max(Some(since));
    }

    fn is_up(&self, now: Duration) -> bool {
        now < self.falls() && self.ordered_since >= self.proven_since
    }
}

/// A cheap handle on the rule.
#[derive(Debug, Clone)]
pub struct Fence {
    proof: watch::Sender<Proof>,
    clock: Clock,
    risen: Arc<Notify>,
}

impl Fence {
    /// A fence that is down. `risen` is woken whenever it comes up.
    pub fn new(clock: Clock, risen: Arc<Notify>) -> Fence {
        Fence { proof: watch::Sender::default(), clock, risen }
    }

    /// A leader acknowledged a beat that was sent then.
    pub fn acknowledged(&self, sent: Duration) {
        let now = self.clock.monotonic();
        self.change(|proof| proof.acknowledged(sent, now));
    }

    /// A leader's orders came on a stream opened at that time or later.
    pub fn ordered(&self, since: Duration) {
        self.change(|proof| proof.ordered(since));
    }

    /// Whether exclusive units may run now.
    pub fn is_up(&self) -> bool {
        self.proof.borrow().is_up(self.clock.monotonic())
    }

    /// How long they may run on if nothing more is heard; none when they may not.
    pub fn left(&self) -> Option<Duration> {
        let (proof, now) = (*self.proof.borrow(), self.clock.monotonic());
        proof.is_up(now).then(|| proof.falls().saturating_sub(now))
    }

    /// Waits until orders of streams opened at `since` count no more: beats are acknowledged anew.
    pub async fn asks_for_orders(&self, since: Duration) {
        let mut proof = self.proof.subscribe();
        // It fails only when the sender is gone, and this holds one.
        let _ = proof.wait_for(|proof| proof.proven_since > Some(since)).await;
    }

    fn change(&self, change: impl FnOnce(&mut Proof)) {
        let was_up = self.is_up();
        self.proof.send_modify(change);
        if !was_up && self.is_up() {
            self.risen.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: f32) -> Duration {
        Duration::from_millis((seconds * 1_000.0).round() as u64)
    }

    fn up_since(seconds: f32) -> Proof {
        let mut proof = Proof::default();
        proof.acknowledged(at(seconds), at(seconds));
        proof.ordered(at(seconds));
        assert!(proof.is_up(at(seconds)));
        proof
    }

    #[test]
    fn it_is_up_for_six_seconds_from_the_sending_of_an_acknowledged_beat() {
        let mut proof = up_since(0.5);
        proof.acknowledged(at(1.0), at(2.5));
        assert!(proof.is_up(at(6.99)) && !proof.is_up(at(7.0)));
        proof.acknowledged(at(2.0), at(2.6));
        assert!(proof.is_up(at(7.99)) && !proof.is_up(at(8.0)));
    }

    #[test]
    fn neither_orders_nor_a_beat_alone_raise_it() {
        let mut proof = Proof::default();
        assert!(!proof.is_up(at(0.0)));
        proof.ordered(at(0.1));
        assert!(!proof.is_up(at(0.2)));
        proof.acknowledged(at(0.2), at(0.3));
        assert!(!proof.is_up(at(0.4)), "the orders may be older than what the leader knows now");
        proof.ordered(at(0.35));
        assert!(proof.is_up(at(0.4)));
    }

    #[test]
    fn after_a_fall_it_takes_a_beat_and_then_orders() {
        let mut proof = up_since(1.0);
        // Nobody looked at 7, when it fell.
        proof.acknowledged(at(8.0), at(8.1));
        assert!(!proof.is_up(at(8.2)));
        proof.ordered(at(7.5));
        assert!(!proof.is_up(at(8.2)), "a stream opened in the silence");
        proof.ordered(at(8.1));
        assert!(proof.is_up(at(8.2)));
    }

    #[test]
    fn a_beat_acknowledged_too_late_proves_nothing() {
        let mut proof = up_since(0.5);
        proof.acknowledged(at(1.0), at(7.0));
        assert_eq!(proof, up_since(0.5));
    }

    proptest! {
        /// Looked at every tick of a tenth of a second: up means proven at each tick since orders were asked for.
        #[test]
        fn up_is_proven_without_a_gap_since_orders_were_asked_for(
            events in proptest::collection::vec((any::<bool>(), 0..40_u32, 0..90_u32), 1..40),
        ) {
            let tick = Duration::from_millis(100);
            let (mut proof, mut now) = (Proof::default(), 0_u32);
            let (mut beats, mut opened) = (Vec::new(), 0);
            for (is_beat, wait, ago) in events {
                now += wait;
                let then = now.saturating_sub(ago);
                if is_beat {
                    proof.acknowledged(then * tick, now * tick);
                    beats.push((then, now));
                } else {
                    proof.ordered(then * tick);
                    opened = opened.max(then);
                }
                let is_proven = |at: u32| {
                    beats.iter().any(|(sent, heard)| *heard <= at && at < sent + 60)
                };
                if proof.is_up(now * tick) {
                    prop_assert!((opened..=now).all(is_proven), "opened {opened}, now {now}, {beats:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_proof_asks_for_orders_and_they_wake_whoever_waits_for_the_fence() {
        let manual = service::ManualClock::new(0);
        let risen = Arc::new(Notify::new());
        let fence = Fence::new(manual.clock(), risen.clone());
        manual.advance(at(1.0));
        fence.acknowledged(at(0.9));
        fence.asks_for_orders(at(0.5)).await;
        assert!(!fence.is_up());
        fence.ordered(at(1.0));
        risen.notified().await;
        assert_eq!(fence.left(), Some(at(5.9)));
        manual.advance(at(5.9));
        assert_eq!(fence.left(), None);
    }
}
