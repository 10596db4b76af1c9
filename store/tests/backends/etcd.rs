//! The etcd store keeps the contract on a real etcd, and says truthfully when it is lost.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use store::contract::{self, Subject};
use store::{EtcdOptions, EtcdStore, Outcome, Store, StoreError, Txn};

use crate::server::EtcdServer;

/// More than any deadline of the store, for calls that must end by themselves.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_store_keeps_the_contract() {
    let server = EtcdServer::start().await;
    let made = Cell::new(0);
    contract::check(async || {
        made.set(made.get() + 1);
        // As long as a prefix may be, so that the largest transaction is tried with it.
        let prefix = format!("{:/<128}", format!("/store/{}", made.get()));
        Arc::new(server.connect(&prefix).await) as Subject
    })
    .await;
}

#[tokio::test]
async fn stores_with_different_prefixes_do_not_see_each_other() {
    let server = EtcdServer::start().await;
    let one = server.connect("/one/").await;
    let two = server.connect("/two/").await;
    one.transact(Txn::new().put("a", "1")).await.unwrap();
    let revision = two.list("").await.unwrap().revision;
    let mut changes = two.watch("", revision).await.unwrap();
    one.transact(Txn::new().put("a", "2")).await.unwrap();
    two.transact(Txn::new().absent("a").put("b", "1")).await.unwrap();
    let told = changes.next().await.unwrap().unwrap();
    assert_eq!(told[0].key(), "b");
    assert_eq!(two.get("a").await.unwrap(), None);
    assert_eq!(two.list("").await.unwrap().entries.len(), 1);
    let all = server.connect("").await;
    assert_eq!(all.list("").await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn a_killed_server_ends_watches_and_the_store_recovers_with_it() {
    let mut server = EtcdServer::start().await;
    let store = server.connect("/store/").await;
    store.transact(Txn::new().put("a", "1")).await.unwrap();
    let revision = store.list("").await.unwrap().revision;
    let mut changes = store.watch("", revision).await.unwrap();
    server.kill();

    let lost = within(changes.next()).await.unwrap().unwrap_err();
    assert!(lost.is_retryable(), "{lost:?}");
    assert!(within(changes.next()).await.is_none());
    let write = within(store.transact(Txn::new().put("a", "2"))).await;
    assert!(write.unwrap_err().is_retryable());
    let read = within(store.get("a")).await.unwrap_err();
    assert!(read.is_retryable(), "{read:?}");

    server.restart().await;
    let found = within(store.get("a")).await.unwrap().unwrap();
    assert!(found.value == "1" || found.value == "2");
    let txn = Txn::new().unchanged("a", found.modified).put("a", "3");
    let outcome = within(store.transact(txn)).await.unwrap();
    assert_ne!(outcome, Outcome::Conflict);
    let mut changes = store.watch("", found.modified).await.unwrap();
    let told = within(changes.next()).await.unwrap().unwrap();
    assert_eq!(told.len(), 1);
}

#[tokio::test]
async fn a_frozen_server_leaves_no_call_hanging_and_the_outcome_unknown() {
    let server = EtcdServer::start().await;
    let store = server.connect("/store/").await;
    let revision = store.list("").await.unwrap().revision;
    let mut changes = store.watch("", revision).await.unwrap();
    server.signal("STOP");
    let write = within(store.transact(Txn::new().absent("a").put("a", "1"))).await;
    let error = write.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert!(within(store.get("a")).await.is_err());
    assert!(within(changes.next()).await.unwrap().is_err());
    server.signal("CONT");
    // Unknown means what it says: only a read after the server is back tells.
    let found = within(read_when_back(&store)).await;
    assert!(found.is_none_or(|entry| entry.value == "1"));
}

async fn read_when_back(store: &EtcdStore) -> Option<store::Entry> {
    loop {
        match store.get("a").await {
            Ok(found) => return found,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_unavailable() {
    let options = EtcdOptions {
        endpoints: vec!["http://127.0.0.1:1".into()],
        tls: None,
        key_prefix: "/store/".into(),
    };
    let error = within(EtcdStore::connect(options)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

async fn within<T>(call: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, call).await;
    done.expect("every call ends by itself")
}

#[tokio::test]
async fn without_a_quorum_the_nearest_member_tells_what_it_remembers() {
    let [near, mut far] = EtcdServer::start_pair().await;
    let store = near.connect("").await;
    store.transact(Txn::new().put("a", "1")).await.unwrap();
    // Seen by the nearest too: a read asks it, and it asks the other.
    assert!(store.get("a").await.unwrap().is_some());
    far.kill();
    let read = store.get("a").await;
    assert!(read.as_ref().is_err_and(|error| error.is_retryable()), "{read:?}");
    let remembered = store.recall("a").await.unwrap();
    assert_eq!(remembered.entries[0].value, "1");
    // A controller that starts in that time finds it too.
    let started = near.connect("").await;
    assert_eq!(started.recall("").await.unwrap().entries.len(), 1);
}
