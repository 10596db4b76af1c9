//! Records over a way to the store that is cut and mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::app::App;
use model::time::Time;
use service::{Stop, Wake};
use store::faults::{Fault, Way};
use store::{MemoryStore, Store};

use super::*;
use crate::observe::Observer;
use crate::records::{CommitError, Records, Write};

fn app(name: &str) -> App {
    App::new(name.parse().unwrap(), "olga".parse().unwrap(), Time(1))
}

/// Waits, in paused time, until something holds.
async fn until(what: impl Fn() -> bool) {
    let held = async {
        while !what() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), held).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_reads_are_stale_and_writes_refused_until_it_is_back() {
    let store = Arc::new(MemoryStore::new());
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = is_cut.clone();
    let fate = move || if cut.load(Ordering::SeqCst) { Fault::Cut } else { Fault::None };
    let way: Arc<dyn Store> = Arc::new(Way::new(store, fate));
    let records = Records::new(way);
    records.commit(Write::new().create(&app("shop"))).await.unwrap();
    let observer = Arc::new(Observer::start(records.clone()).await.unwrap());
    let stop = Stop::new();
    let following = tokio::spawn(observer.follow(Wake::new(), stop.clone()));
    let (_, is_stale) = noting_stale(records.app(&app("shop").name)).await;
    assert!(!is_stale);

    is_cut.store(true, Ordering::SeqCst);
    until(|| records.doubt().is_set()).await;
    let (read, is_stale) = noting_stale(records.app(&app("shop").name)).await;
    assert_eq!((read.unwrap().unwrap().value.name, is_stale), (app("shop").name, true));
    let refused = records.commit(Write::new().create(&app("blog"))).await;
    assert!(matches!(refused, Err(CommitError::NoQuorum)), "{refused:?}");
    let lasted = records.doubt().lasts().unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(records.doubt().lasts().unwrap() >= lasted + Duration::from_secs(30));

    is_cut.store(false, Ordering::SeqCst);
    until(|| !records.doubt().is_set()).await;
    assert_eq!(records.doubt().lasts(), None);
    records.commit(Write::new().create(&app("blog"))).await.unwrap();
    let (_, is_stale) = noting_stale(records.app(&app("shop").name)).await;
    assert!(!is_stale);
    stop.set();
    following.await.unwrap();
}
