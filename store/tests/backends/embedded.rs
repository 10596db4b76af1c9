//! The embedded store keeps the contract, its file, and its distance from a full disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use store::contract::{self, Subject};
use store::{EmbeddedOptions, EmbeddedStore, Outcome, Revision, Store, StoreError, Txn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    contract::check(async || {
        made.set(made.get() + 1);
        let path = folder.path().join(format!("store-{}", made.get()));
        Arc::new(EmbeddedStore::open(path).unwrap()) as Subject
    })
    .await;
}

#[tokio::test]
async fn a_reopened_store_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = EmbeddedStore::open(&path).unwrap();
    let first = put(&store, "a", "1").await;
    let second = put(&store, "b", "1").await;
    store.transact(Txn::new().delete("b")).await.unwrap();
    let before = store.list("").await.unwrap();
    drop(store);

    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(store.list("").await.unwrap(), before);
    assert_eq!(before.revision, Revision(second.0 + 1));
    let txn = Txn::new().unchanged("a", first).put("a", "2");
    let third = Outcome::Committed(Revision(second.0 + 2));
    assert_eq!(store.transact(txn).await.unwrap(), third);
}

#[tokio::test]
async fn a_watch_from_before_a_restart_relists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = EmbeddedStore::open(&path).unwrap();
    let first = put(&store, "a", "1").await;
    let second = put(&store, "a", "2").await;
    let mut open = store.watch("", second).await.unwrap();
    drop(store);
    let lost = open.next().await.unwrap().unwrap_err();
    assert!(matches!(lost, StoreError::Unavailable { .. }), "{lost:?}");

    let store = EmbeddedStore::open(&path).unwrap();
    let mut old = store.watch("", first).await.unwrap();
    let error = old.next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Compacted { oldest } if oldest == second));
    let mut current = store.watch("", second).await.unwrap();
    let third = put(&store, "a", "3").await;
    let told = current.next().await.unwrap().unwrap();
    assert_eq!(told[0].modified(), third);
}

#[tokio::test]
async fn a_second_opener_is_told_that_the_store_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = EmbeddedStore::open(&path).unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("store"));
    drop(store);
    EmbeddedStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let text = "not a store ".repeat(1000);
    fs::write(&path, &text).unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let missing = EmbeddedStore::open(folder.path().join("none/store")).unwrap_err();
    assert!(matches!(missing, StoreError::Unavailable { .. }));
}

#[tokio::test]
async fn the_file_is_private_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let _store = EmbeddedStore::open(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_puts_but_not_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = EmbeddedStore::open(&path).unwrap();
    put(&store, "a", "1").await;
    let before = put(&store, "b", "1").await;
    drop(store);

    let store = open_full(&path);
    let mixed = Txn::new().delete("a").put("c", "1");
    let error = store.transact(mixed).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    let listing = store.list("").await.unwrap();
    assert_eq!((listing.entries.len(), listing.revision), (2, before));
    let freed = store.transact(Txn::new().delete("a")).await.unwrap();
    assert_eq!(freed, Outcome::Committed(Revision(before.0 + 1)));
}

fn open_full(path: &Path) -> EmbeddedStore {
    let options = EmbeddedOptions { free_floor_bytes: u64::MAX };
    EmbeddedStore::open_with(path, options).unwrap()
}

async fn put(store: &EmbeddedStore, key: &str, value: &'static str) -> Revision {
    match store.transact(Txn::new().put(key, value)).await.unwrap() {
        Outcome::Committed(revision) => revision,
        Outcome::Conflict => panic!("a put without guards met a conflict"),
    }
}
