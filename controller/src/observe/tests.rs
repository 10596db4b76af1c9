//! The image follows the store, and comes back from what interrupts it.

use model::time::Time;
use store::{MemoryStore, Store};

use super::*;
use crate::records::{Write, app_key};

struct World {
    records: Records,
    observer: Arc<Observer>,
    stop: Stop,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.set();
    }
}

fn app(name: &str) -> App {
    App::new(name.parse().unwrap(), "olga".parse().unwrap(), Time(1))
}

impl World {
    async fn new() -> World {
        let records = Records::new(Arc::new(MemoryStore::new()));
        records.commit(Write::new().create(&app("first"))).await.unwrap();
        let observer = Arc::new(Observer::start(records.clone()).await.unwrap());
        let stop = Stop::new();
        tokio::spawn(observer.clone().follow(Wake::new(), stop.clone()));
        World { records, observer, stop }
    }

    fn apps(&self) -> Vec<String> {
        let (snapshot, _) = self.observer.snapshot(|_| {});
        snapshot.apps.keys().map(ToString::to_string).collect()
    }

    async fn commit(&self, write: Write) {
        let revision = self.records.commit(write).await.unwrap().0;
        self.observer.caught_up(revision).await.unwrap();
    }
}

#[tokio::test]
async fn the_image_shows_every_write_once_caught_up() {
    let world = World::new().await;
    assert_eq!(world.apps(), ["first"]);
    world.commit(Write::new().create(&app("second"))).await;
    assert_eq!(world.apps(), ["first", "second"]);
    let first = world.records.app(&"first".parse().unwrap()).await.unwrap().unwrap();
    world.commit(Write::new().delete(&first.value, first.revision)).await;
    assert_eq!(world.apps(), ["second"]);
}

#[tokio::test]
async fn an_older_snapshot_stays_as_it_was() {
    let world = World::new().await;
    let (before, _) = world.observer.snapshot(|_| {});
    world.commit(Write::new().create(&app("second"))).await;
    assert_eq!(before.apps.len(), 1);
    assert_eq!(world.apps().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_the_last_image_stays_until_it_can() {
    let world = World::new().await;
    let store: &Arc<dyn Store> = world.records.store();
    let second = app_key(&"second".parse().unwrap());
    let newer = br#"{"v":2,"data":{}}"#.to_vec();
    store.transact(store::Txn::new().put(second.clone(), newer)).await.unwrap();
    let mut seen = world.observer.seen.subscribe();
    seen.wait_for(|seen| seen.trouble.is_some()).await.unwrap();
    assert_eq!(world.apps(), ["first"]);
    let outcome = store.transact(store::Txn::new().delete(second)).await.unwrap();
    let store::Outcome::Committed(revision) = outcome else { panic!("nothing guards it") };
    seen.wait_for(|seen| seen.trouble.is_none() && seen.revision >= revision.0).await.unwrap();
    assert_eq!(world.apps(), ["first"]);
}
