//! Rules about sizes: accepted to the last byte, refused whole beyond.

use super::{Subject, commit, keys, now};
use crate::limits::{MAX_GUARDS, MAX_KEY_BYTES, MAX_OPS, MAX_TXN_BYTES, MAX_VALUE_BYTES};
use crate::{Revision, StoreError, Txn};

pub async fn sizes_at_the_limit_are_accepted(store: &Subject) {
    let key = "k".repeat(MAX_KEY_BYTES);
    let value = vec![0xff; MAX_VALUE_BYTES];
    commit(store, Txn::new().put(key.clone(), value)).await;
    let found = store.get(&key).await.expect("the store works");
    assert_eq!(found.map(|it| it.value.len()), Some(MAX_VALUE_BYTES));
    commit(store, Txn::new().put("empty", "")).await;
    commit(store, largest()).await;
    assert_eq!(keys(store, "o").await.len(), MAX_OPS);
}

/// The most guards and ops with the longest keys, filled up to [`MAX_TXN_BYTES`].
fn largest() -> Txn {
    let name = |kind: &str, index| format!("{kind}{index:0width$}", width = MAX_KEY_BYTES - 1);
    let txn = (0..MAX_GUARDS).fold(Txn::new(), |txn, index| txn.absent(name("g", index)));
    let room = MAX_TXN_BYTES - (MAX_GUARDS + MAX_OPS) * MAX_KEY_BYTES;
    (0..MAX_OPS).fold(txn, |txn, index| txn.put(name("o", index), vec![1; room / MAX_OPS]))
}

pub async fn sizes_over_the_limit_are_refused_whole(store: &Subject) {
    let start = now(store).await;
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let many = |count| (0..count).fold(Txn::new(), |txn, index| txn.put(format!("o{index}"), "x"));
    let guards = (0..=MAX_GUARDS).fold(Txn::new(), |txn, index| txn.absent(format!("g{index}")));
    let mut heavy = largest();
    heavy.guards.pop();
    heavy.ops.pop();
    heavy = heavy.put("over", vec![1; 10 * 1024]);
    let refused = [
        Txn::new().put("a", "x").put(long.clone(), "x"),
        Txn::new().put("a", "x").delete(long.clone()),
        Txn::new().put("a", "x").absent(long.clone()),
        Txn::new().put("a", "x").put("b", vec![0; MAX_VALUE_BYTES + 1]),
        many(MAX_OPS + 1),
        guards.put("a", "x"),
        heavy,
    ];
    for txn in refused {
        let result = store.transact(txn).await;
        assert!(matches!(result, Err(StoreError::TooLarge { .. })), "{result:?}");
    }
    let too_large = |error| matches!(error, Some(StoreError::TooLarge { .. }));
    assert!(too_large(store.get(&long).await.err()));
    assert!(too_large(store.list(&long).await.err()));
    assert!(too_large(store.watch(&long, start).await.err()));
    assert!(keys(store, "").await.is_empty());
    assert_eq!(now(store).await, start);
}

pub async fn what_makes_no_sense_is_refused(store: &Subject) {
    let start = now(store).await;
    let refused = [
        Txn::new().put("a", "1").put("b", "1").put("a", "2"),
        Txn::new().put("a", "1").delete("a"),
        Txn::new().put("a", "1").put("", "1"),
        Txn::new().put("a", "1").absent(""),
        Txn::new().put("a", "1").unchanged("b", Revision(0)),
    ];
    for txn in refused {
        let result = store.transact(txn).await;
        assert!(matches!(result, Err(StoreError::Invalid(_))), "{result:?}");
    }
    let nameless = store.get("").await;
    assert!(matches!(nameless, Err(StoreError::Invalid(_))), "{nameless:?}");
    assert_eq!(now(store).await, start);
}
