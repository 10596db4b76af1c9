//! What every backend must do, as code: [`check`] runs each rule against a fresh store and panics where one is broken.
//!
//! That acknowledged transactions outlive the process is no part of it, since the memory store has no such duty; the
//! backends that have it test it themselves.

mod compaction;
mod guards;
mod limits;
mod listing;
mod races;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::{Change, Entry, Outcome, Revision, Store, Txn, Watch};

/// How long a change may take to reach a watch before the rule counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store under test.
pub type Subject = Arc<dyn Store>;

/// Checks all rules. `make` gives a store without entries each time; its revision may be any.
///
/// # Panics
///
/// Where a rule is broken, and where the store fails although it should not.
pub async fn check(make: impl AsyncFn() -> Subject) {
    guards::absent_holds_only_without_the_key(&make().await).await;
    guards::unchanged_holds_only_at_the_read_revision(&make().await).await;
    guards::a_key_deleted_and_made_again_is_another(&make().await).await;
    guards::a_conflict_writes_nothing(&make().await).await;
    guards::guards_look_at_the_state_before_the_ops(&make().await).await;
    guards::revisions_grow_by_one_with_each_change(&make().await).await;
    guards::a_transaction_without_effect_takes_no_revision(&make().await).await;
    listing::a_listing_holds_its_prefix_and_no_neighbour(&make().await).await;
    listing::a_listing_is_in_key_order(&make().await).await;
    listing::a_long_listing_is_whole(&make().await).await;
    listing::a_listing_of_large_values_is_whole(&make().await).await;
    listing::a_listing_is_of_one_revision(&make().await).await;
    watching::a_watch_tells_each_revision_as_one_batch(&make().await).await;
    watching::a_watch_resumes_without_gap_or_repeat(&make().await).await;
    watching::a_watch_sees_only_its_prefix(&make().await).await;
    watching::a_watch_ahead_of_the_store_waits(&make().await).await;
    watching::a_listing_and_a_watch_meet_without_a_gap(&make().await).await;
    compaction::a_watch_from_compacted_history_ends(&make().await).await;
    compaction::a_watch_goes_on_from_just_before_the_compaction(&make().await).await;
    compaction::compacting_keeps_entries(&make().await).await;
    compaction::compacting_ahead_of_the_store_is_refused(&make().await).await;
    races::a_counter_loses_no_increment(&make().await).await;
    races::one_of_many_wins_an_absent_key(&make().await).await;
    limits::sizes_at_the_limit_are_accepted(&make().await).await;
    limits::sizes_over_the_limit_are_refused_whole(&make().await).await;
    limits::what_makes_no_sense_is_refused(&make().await).await;
}

/// Commits `txn` and gives its revision.
async fn commit(store: &Subject, txn: Txn) -> Revision {
    match store.transact(txn).await.expect("the store works") {
        Outcome::Committed(revision) => revision,
        Outcome::Conflict => panic!("a conflict where the guards hold"),
    }
}

/// Puts one value.
async fn put(store: &Subject, key: &str, value: &'static str) -> Revision {
    commit(store, Txn::new().put(key, value)).await
}

/// Requires that some guard of `txn` fails.
async fn conflict(store: &Subject, txn: Txn) {
    let outcome = store.transact(txn).await.expect("the store works");
    assert_eq!(outcome, Outcome::Conflict);
}

/// The entry at `key`.
async fn get(store: &Subject, key: &str) -> Option<Entry> {
    store.get(key).await.expect("the store works")
}

/// The revision the store is at.
async fn now(store: &Subject) -> Revision {
    store.list("").await.expect("the store works").revision
}

/// The keys under `prefix`.
async fn keys(store: &Subject, prefix: &str) -> Vec<String> {
    let listing = store.list(prefix).await.expect("the store works");
    listing.entries.into_iter().map(|entry| entry.key).collect()
}

/// A watch that is accepted.
async fn watch(store: &Subject, prefix: &str, after: Revision) -> Watch {
    store.watch(prefix, after).await.expect("the store works")
}

/// The next batch of a watch.
async fn next(watch: &mut Watch) -> Vec<Change> {
    let item = tokio::time::timeout(PATIENCE, watch.next()).await;
    let item = item.expect("a change reaches its watch");
    item.expect("a watch does not end in silence").expect("a watch of a sound store goes on")
}

fn entry(key: &str, value: &'static str, created: Revision, modified: Revision) -> Entry {
    Entry { key: key.into(), value: Bytes::from_static(value.as_bytes()), created, modified }
}
