//! One at a time per key: who comes second waits, and finds done what the first one did.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// What is under way.
pub struct Flights<K>(Mutex<HashMap<K, Weak<AsyncMutex<()>>>>);

impl<K> Default for Flights<K> {
    fn default() -> Flights<K> {
        Flights(Mutex::default())
    }
}

impl<K: Eq + Hash> Flights<K> {
    /// Waits until nobody else works on `key`, and keeps others waiting as long as the guard lives.
    pub async fn enter(&self, key: K) -> OwnedMutexGuard<()> {
        let flight = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, flight| flight.strong_count() > 0);
            let known = all.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let flight = Arc::new(AsyncMutex::new(()));
                all.insert(key, Arc::downgrade(&flight));
                flight
            })
        };
        flight.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_is_entered_once_and_others_are_free() {
        let flights = Flights::default();
        let first = flights.enter("a").await;
        let other = flights.enter("b").await;
        let mut second = Box::pin(flights.enter("a"));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        drop((other, second));
        let _again = flights.enter("c").await;
        assert_eq!(flights.0.lock().unwrap().len(), 1);
    }
}
