//! Rules about listings.

use super::{Subject, commit, keys, now};
use crate::{Txn, limits};

pub async fn a_listing_holds_its_prefix_and_no_neighbour(store: &Subject) {
    let names = ["app", "app/", "app/a", "app/b/c", "app0", "apq", "ap", "é", "ê", "\u{10ffff}"];
    let txn = names.iter().fold(Txn::new(), |txn, key| txn.put(*key, "x"));
    let revision = commit(store, txn).await;
    assert_eq!(keys(store, "app/").await, ["app/", "app/a", "app/b/c"]);
    assert_eq!(keys(store, "app").await, ["app", "app/", "app/a", "app/b/c", "app0"]);
    assert_eq!(keys(store, "é").await, ["é"]);
    assert_eq!(keys(store, "\u{10ffff}").await, ["\u{10ffff}"]);
    assert_eq!(keys(store, "").await.len(), names.len());
    let nothing = store.list("none/").await.expect("the store works");
    assert!(nothing.entries.is_empty());
    assert_eq!(nothing.revision, revision);
}

pub async fn a_listing_is_in_key_order(store: &Subject) {
    let names = ["b", "a/b", "a.b", "a", "B", "a/", "aa", "ä", "z"];
    for key in names {
        commit(store, Txn::new().put(key, "x")).await;
    }
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    assert_eq!(keys(store, "").await, sorted);
}

pub async fn a_long_listing_is_whole(store: &Subject) {
    const TXNS: usize = 12;
    for part in 0..TXNS {
        let txn = (0..limits::MAX_OPS)
            .fold(Txn::new(), |txn, index| txn.put(format!("many/{part:02}/{index:03}"), "x"));
        commit(store, txn).await;
    }
    let found = keys(store, "many/").await;
    assert_eq!(found.len(), TXNS * limits::MAX_OPS);
    assert!(found.is_sorted());
}

pub async fn a_listing_of_large_values_is_whole(store: &Subject) {
    const VALUES: usize = 24;
    for index in 0..VALUES {
        let value = vec![index as u8; limits::MAX_VALUE_BYTES];
        commit(store, Txn::new().put(format!("large/{index:02}"), value)).await;
    }
    let listing = store.list("large/").await.expect("the store works");
    assert_eq!(listing.entries.len(), VALUES);
    for (index, entry) in listing.entries.iter().enumerate() {
        assert_eq!(entry.value.len(), limits::MAX_VALUE_BYTES);
        assert_eq!(entry.value[0], index as u8);
    }
}

/// Two keys at both ends of a long prefix always change together, so a listing sees them equal.
pub async fn a_listing_is_of_one_revision(store: &Subject) {
    const ROUNDS: usize = 60;
    for part in 0..8 {
        let txn = (0..limits::MAX_OPS)
            .fold(Txn::new(), |txn, index| txn.put(format!("pair/m/{part}/{index}"), "x"));
        commit(store, txn).await;
    }
    let writer = store.clone();
    let writes = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let value = round.to_string();
            let txn = Txn::new().put("pair/a", value.clone()).put("pair/z", value);
            commit(&writer, txn).await;
        }
    });
    let mut seen = now(store).await;
    loop {
        let is_last = writes.is_finished();
        let listing = store.list("pair/").await.expect("the store works");
        let ends = (listing.entries.first(), listing.entries.last());
        let (Some(first), Some(last)) = ends else {
            panic!("the listing lost its entries");
        };
        if first.key == "pair/a" || last.key == "pair/z" {
            assert_eq!(first.value, last.value);
            assert_eq!(first.modified, last.modified);
            assert_eq!(listing.revision, first.modified);
        }
        assert!(listing.revision >= seen, "a listing went back in time");
        seen = listing.revision;
        if is_last {
            break;
        }
    }
    writes.await.expect("the writer ends well");
}
