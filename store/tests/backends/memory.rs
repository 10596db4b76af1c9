//! The memory store keeps the contract.

use std::sync::Arc;

use store::contract::{self, Subject};
use store::{MemoryStore, Revision, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_keeps_the_contract() {
    contract::check(async || Arc::new(MemoryStore::new()) as Subject).await;
}

#[tokio::test]
async fn an_empty_memory_store_is_at_revision_zero() {
    let listing = MemoryStore::new().list("").await.unwrap();
    assert_eq!(listing.revision, Revision(0));
}
