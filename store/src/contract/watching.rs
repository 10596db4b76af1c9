//! Rules about watches.

use super::{Subject, commit, entry, keys, next, now, put, watch};
use crate::{Change, Revision, Txn};

pub async fn a_watch_tells_each_revision_as_one_batch(store: &Subject) {
    let mut changes = watch(store, "", now(store).await).await;
    let first = commit(store, Txn::new().put("b", "1").put("a", "1").put("c", "1")).await;
    let second =
        commit(store, Txn::new().delete("c").put("b", "2").delete("none").put("d", "2")).await;
    let told = next(&mut changes).await;
    assert_eq!(
        told,
        [
            Change::Put(entry("b", "1", first, first)),
            Change::Put(entry("a", "1", first, first)),
            Change::Put(entry("c", "1", first, first)),
        ]
    );
    let told = next(&mut changes).await;
    let deleted = Change::Deleted { key: "c".into(), modified: second };
    assert_eq!(
        told,
        [
            deleted,
            Change::Put(entry("b", "2", first, second)),
            Change::Put(entry("d", "2", second, second)),
        ]
    );
}

pub async fn a_watch_resumes_without_gap_or_repeat(store: &Subject) {
    let start = now(store).await;
    let mut revisions = Vec::new();
    for _ in 0..20 {
        revisions.push(put(store, "a", "x").await);
    }
    for skipped in [0, 1, 10, 19] {
        let after = revisions[..skipped].last().copied().unwrap_or(start);
        let mut changes = watch(store, "", after).await;
        for revision in &revisions[skipped..] {
            let told = next(&mut changes).await;
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].modified(), *revision);
        }
    }
}

pub async fn a_watch_sees_only_its_prefix(store: &Subject) {
    let mut changes = watch(store, "app/", now(store).await).await;
    put(store, "app", "x").await;
    put(store, "app0", "x").await;
    let mixed = commit(store, Txn::new().put("aaa", "x").put("app/a", "x").delete("app")).await;
    let told = next(&mut changes).await;
    assert_eq!(told, [Change::Put(entry("app/a", "x", mixed, mixed))]);
    commit(store, Txn::new().delete("app0")).await;
    let last = commit(store, Txn::new().delete("app/a")).await;
    let deleted = Change::Deleted { key: "app/a".into(), modified: last };
    assert_eq!(next(&mut changes).await, [deleted]);
}

pub async fn a_watch_ahead_of_the_store_waits(store: &Subject) {
    let start = now(store).await;
    let mut changes = watch(store, "", Revision(start.0 + 2)).await;
    put(store, "a", "1").await;
    put(store, "a", "2").await;
    let third = put(store, "a", "3").await;
    assert_eq!(next(&mut changes).await[0].modified(), third);
}

/// A reader that lists and then follows knows every key, whatever is written meanwhile.
pub async fn a_listing_and_a_watch_meet_without_a_gap(store: &Subject) {
    const WRITES: usize = 200;
    let writer = store.clone();
    let writes = tokio::spawn(async move {
        for index in 0..WRITES {
            commit(&writer, Txn::new().put(format!("k/{index:03}"), "x")).await;
        }
    });
    let listing = store.list("k/").await.expect("the store works");
    let mut known: Vec<String> = listing.entries.into_iter().map(|it| it.key).collect();
    let mut changes = watch(store, "k/", listing.revision).await;
    while known.len() < WRITES {
        let told = next(&mut changes).await;
        known.extend(told.iter().map(|change| change.key().to_owned()));
    }
    writes.await.expect("the writer ends well");
    assert_eq!(known, keys(store, "k/").await);
}
