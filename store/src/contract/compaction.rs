//! Rules about forgotten history.

use futures_util::StreamExt;

use super::{PATIENCE, Subject, commit, get, next, now, put, watch};
use crate::{Change, Revision, StoreError, Txn};

pub async fn a_watch_from_compacted_history_ends(store: &Subject) {
    let start = put(store, "a", "1").await;
    put(store, "a", "2").await;
    let third = put(store, "a", "3").await;
    store.compact(third).await.expect("the store works");
    let mut changes = watch(store, "", start).await;
    let item = tokio::time::timeout(PATIENCE, changes.next()).await;
    let item = item.expect("a watch says at once that its history is gone");
    match item {
        Some(Err(StoreError::Compacted { oldest })) => assert_eq!(oldest.0, third.0 - 1),
        other => panic!("a watch of lost history told {other:?}"),
    }
    assert!(changes.next().await.is_none(), "the error is the last item");
}

pub async fn a_watch_goes_on_from_just_before_the_compaction(store: &Subject) {
    put(store, "a", "1").await;
    put(store, "b", "1").await;
    let deleted = commit(store, Txn::new().delete("a")).await;
    store.compact(deleted).await.expect("the store works");
    let mut changes = watch(store, "", Revision(deleted.0 - 1)).await;
    let deletion = Change::Deleted { key: "a".into(), modified: deleted };
    assert_eq!(next(&mut changes).await, [deletion]);
    let later = put(store, "a", "2").await;
    assert_eq!(next(&mut changes).await[0].modified(), later);
}

pub async fn compacting_keeps_entries(store: &Subject) {
    let old = put(store, "old", "1").await;
    put(store, "a", "1").await;
    let last = put(store, "a", "2").await;
    let mut changes = watch(store, "", last).await;
    let end = Revision(last.0 + 1);
    store.compact(end).await.expect("the store works");
    store.compact(end).await.expect("again is no error");
    store.compact(old).await.expect("less is no error");
    store.compact(Revision(0)).await.expect("nothing is no error");
    let found = get(store, "old").await.expect("an old entry stays");
    assert_eq!(found.modified, old);
    commit(store, Txn::new().unchanged("old", old).put("old", "2")).await;
    let told = next(&mut changes).await;
    assert_eq!(told[0].key(), "old", "a watch that is up to date goes on");
}

pub async fn compacting_ahead_of_the_store_is_refused(store: &Subject) {
    let ahead = Revision(now(store).await.0 + 2);
    let refused = store.compact(ahead).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
}
