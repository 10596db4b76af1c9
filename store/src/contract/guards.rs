//! Rules about guards, atomicity and the counting of revisions.

use super::{Subject, commit, conflict, entry, get, keys, now, put};
use crate::{Revision, Txn};

pub async fn absent_holds_only_without_the_key(store: &Subject) {
    let revision = commit(store, Txn::new().absent("a").put("a", "1")).await;
    assert_eq!(get(store, "a").await, Some(entry("a", "1", revision, revision)));
    conflict(store, Txn::new().absent("a").put("a", "2")).await;
    assert_eq!(get(store, "a").await, Some(entry("a", "1", revision, revision)));
    commit(store, Txn::new().delete("a")).await;
    commit(store, Txn::new().absent("a").put("a", "3")).await;
}

pub async fn unchanged_holds_only_at_the_read_revision(store: &Subject) {
    let first = put(store, "a", "1").await;
    let second = commit(store, Txn::new().unchanged("a", first).put("a", "2")).await;
    conflict(store, Txn::new().unchanged("a", first).put("a", "3")).await;
    assert_eq!(get(store, "a").await, Some(entry("a", "2", first, second)));
    // Equal bytes count as a change: somebody wrote.
    let third = put(store, "a", "2").await;
    conflict(store, Txn::new().unchanged("a", second).delete("a")).await;
    let ahead = Revision(third.0 + 1);
    conflict(store, Txn::new().unchanged("a", ahead).delete("a")).await;
    commit(store, Txn::new().unchanged("a", third).delete("a")).await;
    conflict(store, Txn::new().unchanged("a", third).put("a", "4")).await;
    conflict(store, Txn::new().unchanged("never", third).put("a", "4")).await;
    assert_eq!(get(store, "a").await, None);
}

pub async fn a_key_deleted_and_made_again_is_another(store: &Subject) {
    let first = put(store, "a", "1").await;
    commit(store, Txn::new().delete("a")).await;
    let again = put(store, "a", "1").await;
    assert_eq!(get(store, "a").await, Some(entry("a", "1", again, again)));
    conflict(store, Txn::new().unchanged("a", first).put("a", "2")).await;
}

pub async fn a_conflict_writes_nothing(store: &Subject) {
    let revision = put(store, "a", "1").await;
    let txn = Txn::new()
        .unchanged("a", revision)
        .absent("b")
        .absent("a")
        .put("b", "new")
        .put("c", "new")
        .delete("a");
    conflict(store, txn).await;
    assert_eq!(keys(store, "").await, ["a"]);
    assert_eq!(now(store).await, revision);
}

pub async fn guards_look_at_the_state_before_the_ops(store: &Subject) {
    let revision = put(store, "a", "1").await;
    let swap = Txn::new().unchanged("a", revision).absent("b").delete("a").put("b", "2");
    let revision = commit(store, swap).await;
    assert_eq!(keys(store, "").await, ["b"]);
    assert_eq!(get(store, "b").await, Some(entry("b", "2", revision, revision)));
}

pub async fn revisions_grow_by_one_with_each_change(store: &Subject) {
    let start = now(store).await;
    let first = commit(store, Txn::new().put("a", "1").put("b", "1").put("c", "1")).await;
    assert_eq!(first, Revision(start.0 + 1));
    let second = commit(store, Txn::new().delete("a").put("b", "2").delete("none")).await;
    assert_eq!(second, Revision(start.0 + 2));
    assert_eq!(now(store).await, second);
    assert_eq!(get(store, "b").await, Some(entry("b", "2", first, second)));
    assert_eq!(get(store, "c").await, Some(entry("c", "1", first, first)));
}

pub async fn a_transaction_without_effect_takes_no_revision(store: &Subject) {
    let revision = put(store, "a", "1").await;
    assert_eq!(commit(store, Txn::new()).await, revision);
    assert_eq!(commit(store, Txn::new().delete("none")).await, revision);
    assert_eq!(commit(store, Txn::new().absent("none")).await, revision);
    assert_eq!(put(store, "a", "2").await, Revision(revision.0 + 1));
}
