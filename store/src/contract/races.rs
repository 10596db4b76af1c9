//! Rules about transactions at the same time.

use std::str;

use super::{Subject, get, put};
use crate::{Outcome, Txn};

const WORKERS: usize = 8;
const INCREMENTS: usize = 15;

pub async fn a_counter_loses_no_increment(store: &Subject) {
    put(store, "counter", "0").await;
    let workers: Vec<_> =
        (0..WORKERS).map(|_| tokio::spawn(increment_often(store.clone()))).collect();
    for worker in workers {
        worker.await.expect("a worker ends well");
    }
    assert_eq!(read(store).await.0, WORKERS * INCREMENTS);
}

async fn increment_often(store: Subject) {
    for _ in 0..INCREMENTS {
        while !increment(&store).await {}
    }
}

async fn increment(store: &Subject) -> bool {
    let (value, modified) = read(store).await;
    let txn = Txn::new().unchanged("counter", modified).put("counter", (value + 1).to_string());
    let outcome = store.transact(txn).await.expect("the store works");
    outcome != Outcome::Conflict
}

async fn read(store: &Subject) -> (usize, crate::Revision) {
    let entry = get(store, "counter").await.expect("the counter is there");
    let text = str::from_utf8(&entry.value).expect("the counter is text");
    (text.parse().expect("the counter is a number"), entry.modified)
}

pub async fn one_of_many_wins_an_absent_key(store: &Subject) {
    let racers: Vec<_> = (0..WORKERS)
        .map(|racer| {
            let store = store.clone();
            let txn = Txn::new().absent("lock").put("lock", racer.to_string());
            tokio::spawn(async move { store.transact(txn).await })
        })
        .collect();
    let mut winners = Vec::new();
    for (racer, task) in racers.into_iter().enumerate() {
        let outcome = task.await.expect("a racer ends well");
        if outcome.expect("the store works") != Outcome::Conflict {
            winners.push(racer.to_string());
        }
    }
    let lock = get(store, "lock").await.expect("somebody won");
    assert_eq!(winners.len(), 1);
    assert_eq!(lock.value, winners[0].as_bytes());
}
