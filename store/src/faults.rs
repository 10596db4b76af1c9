//! One client's way to a shared store, on which a simulation does what networks do: cut it, delay it, lose an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;

use crate::{Entry, Listing, Outcome, Revision, Store, StoreError, Txn, Watch};

/// How long a call on a cut way waits before it is given up; as the etcd backend does.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often an open watch looks whether its way was cut.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What happens to a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It takes longer.
    Delay(Duration),
    /// It never arrives.
    Cut,
    /// It arrives; its answer does not.
    LoseAnswer,
}

/// Decides the fault of the next call.
type Fate = Box<dyn FnMut() -> Fault + Send>;

/// One client's way to a store.
pub struct Way {
    store: Arc<dyn Store>,
    fate: Arc<Mutex<Fate>>,
}

impl Way {
    /// A way on which `fate` decides what happens to each call; an open watch ends when it says [`Fault::Cut`].
    pub fn new(store: Arc<dyn Store>, fate: impl FnMut() -> Fault + Send + 'static) -> Way {
        Way { store, fate: Arc::new(Mutex::new(Box::new(fate))) }
    }

    /// Goes there; false: the answer will not come back.
    async fn go(&self) -> Result<bool, StoreError> {
        match next(&self.fate) {
            Fault::None => Ok(true),
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Ok(true)
            }
            Fault::LoseAnswer => Ok(false),
            Fault::Cut => {
                tokio::time::sleep(DEADLINE).await;
                Err(StoreError::TimedOut(DEADLINE))
            }
        }
    }
}

async fn come_back<T>(comes: bool, answer: T) -> Result<T, StoreError> {
    if comes {
        return Ok(answer);
    }
    tokio::time::sleep(DEADLINE).await;
    Err(StoreError::TimedOut(DEADLINE))
}

fn next(fate: &Mutex<Fate>) -> Fault {
    fate.lock().unwrap_or_else(PoisonError::into_inner)()
}

#[async_trait]
impl Store for Way {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let comes = self.go().await?;
        come_back(comes, self.store.get(key).await?).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let comes = self.go().await?;
        come_back(comes, self.store.list(prefix).await?).await
    }

    async fn recall(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.store.recall(prefix).await
    }

    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError> {
        let comes = self.go().await?;
        come_back(comes, self.store.transact(txn).await?).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.go().await?;
        let changes = self.store.watch(prefix, after).await?;
        let fate = self.fate.clone();
        let cut = async move {
            while next(&fate) != Fault::Cut {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let end = futures_util::stream::once(async { Err(StoreError::TimedOut(DEADLINE)) });
        Ok(Watch::new(changes.take_until(cut).chain(end)))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let comes = self.go().await?;
        come_back(comes, self.store.compact(before).await?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    fn way(fault: Fault) -> (Arc<MemoryStore>, Way) {
        let store = Arc::new(MemoryStore::new());
        (store.clone(), Way::new(store, move || fault))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_leaves_the_write_done_and_the_outcome_unknown() {
        let (store, way) = way(Fault::LoseAnswer);
        let lost = way.transact(Txn::new().put("a", "1")).await.unwrap_err();
        assert!(lost.is_outcome_unknown());
        assert!(store.get("a").await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_crosses_a_cut_way_and_its_watches_end() {
        let (store, cut) = way(Fault::Cut);
        cut.transact(Txn::new().put("a", "1")).await.unwrap_err();
        assert!(store.get("a").await.unwrap().is_none());
        let mut calls = 0;
        let later = Way::new(store.clone(), move || {
            calls += 1;
            if calls > 3 { Fault::Cut } else { Fault::None }
        });
        let mut watch = later.watch("", Revision(0)).await.unwrap();
        store.transact(Txn::new().put("a", "1")).await.unwrap();
        assert!(watch.next().await.unwrap().is_ok());
        assert!(watch.next().await.unwrap().is_err());
        assert!(watch.next().await.is_none());
    }
}
