//! One life of a controller's way to the store: what its network does to calls, and nothing any more once it is dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use store::faults::Way;
use store::{Entry, Listing, Outcome, Revision, Store, StoreError, Txn, Watch};

use crate::dice::Dice;
use crate::network::Network;

/// How long a call is waited for; as the etcd backend does.
const DEADLINE: Duration = Duration::from_secs(2);
/// How soon a full store refuses.
const REFUSAL: Duration = Duration::from_millis(5);

/// The way of one life.
pub struct Door {
    store: Arc<dyn Store>,
    way: Way,
    network: Network,
    controller: usize,
    dice: Mutex<Dice>,
    is_dead: Arc<AtomicBool>,
}

impl Door {
    /// To `store`, for a controller that is alive as long as `is_dead` is not set.
    pub fn new(
        store: Arc<dyn Store>,
        network: Network,
        controller: usize,
        mut dice: Dice,
        is_dead: Arc<AtomicBool>,
    ) -> Door {
        let own = Mutex::new(Dice::new(dice.below(u64::MAX)));
        let way = Way::new(store.clone(), {
            let network = network.clone();
            move || network.fate(controller, &mut dice)
        });
        Door { store, way, network, controller, dice: own, is_dead }
    }

    /// Goes on only while alive: nobody hears the answer of a dead program's call.
    async fn alive(&self) {
        if self.is_dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    async fn heard<T>(&self, answer: T) -> T {
        self.alive().await;
        answer
    }
}

#[async_trait]
impl Store for Door {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.alive().await;
        self.heard(self.way.get(key).await).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.alive().await;
        self.heard(self.way.list(prefix).await).await
    }

    async fn recall(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.alive().await;
        self.heard(self.way.recall(prefix).await).await
    }

    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError> {
        self.alive().await;
        if self.network.is_full() {
            tokio::time::sleep(REFUSAL).await;
            let detail = "its quota is used up".to_owned();
            return self.heard(Err(StoreError::Full { detail })).await;
        }
        let late = {
            let mut dice = self.dice.lock().expect("dice are not thrown in a panic");
            self.network.lateness(self.controller, &mut dice)
        };
        if let Some(late) = late {
            let store = self.store.clone();
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                // Whoever asked has given it up long ago.
                let _ = store.transact(txn).await;
            });
            tokio::time::sleep(DEADLINE).await;
            return self.heard(Err(StoreError::TimedOut(DEADLINE))).await;
        }
        self.heard(self.way.transact(txn).await).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.alive().await;
        self.heard(self.way.watch(prefix, after).await).await
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.way.compact(before).await
    }
}
