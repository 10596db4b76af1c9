//! How large keys, values and transactions may be: the same on every backend, and refused whole beyond.
//!
//! They are chosen so that the largest legal transaction fits etcd's default request limit of 1.5 MiB and its
//! default of 128 operations, with room for [`crate::EtcdOptions::key_prefix`] before each key.

use std::collections::HashSet;

use crate::{Guard, Op, Revision, StoreError, Txn};

/// The longest key or prefix, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The most ops in one transaction.
pub const MAX_OPS: usize = 128;
/// The most guards in one transaction.
pub const MAX_GUARDS: usize = 128;
/// The most bytes of all keys (of guards and ops) and values in one transaction.
pub const MAX_TXN_BYTES: usize = 1024 * 1024 + 256 * 1024;
/// The most revisions whose changes the memory and embedded backends remember for watches.
pub const MAX_HISTORY_REVISIONS: usize = 10_000;
/// The most bytes of changes they remember; the newest revision is kept whatever its size.
pub const MAX_HISTORY_BYTES: usize = 8 * 1024 * 1024;

/// Refuses a key that is empty or too long.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::Invalid("a key is empty".into()));
    }
    check_prefix(key)
}

/// Refuses a prefix that is longer than any key.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    at_most("a key", prefix.len(), MAX_KEY_BYTES)
}

/// Refuses a transaction that breaks any limit.
pub(crate) fn check_txn(txn: &Txn) -> Result<(), StoreError> {
    at_most("the transaction's guards", txn.guards.len(), MAX_GUARDS)?;
    at_most("the transaction's ops", txn.ops.len(), MAX_OPS)?;
    txn.guards.iter().try_for_each(check_guard)?;
    let mut keys = HashSet::new();
    for op in &txn.ops {
        check_op(op)?;
        if !keys.insert(op.key()) {
            let reason = format!("`{}` stands twice in one transaction", op.key());
            return Err(StoreError::Invalid(reason));
        }
    }
    at_most("the transaction's bytes", txn_bytes(txn), MAX_TXN_BYTES)
}

/// The bytes that [`MAX_TXN_BYTES`] counts.
pub(crate) fn txn_bytes(txn: &Txn) -> usize {
    let guards: usize = txn.guards.iter().map(|guard| guard.key().len()).sum();
    let ops: usize = txn.ops.iter().map(op_bytes).sum();
    guards + ops
}

fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Put { key, value } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
    }
}

fn check_guard(guard: &Guard) -> Result<(), StoreError> {
    check_key(guard.key())?;
    match guard {
        Guard::Unchanged { key, modified: Revision(0) } => Err(StoreError::Invalid(format!(
            "`{key}` is expected unchanged since revision 0, at which nothing exists"
        ))),
        Guard::Unchanged { .. } | Guard::Absent(_) => Ok(()),
    }
}

fn check_op(op: &Op) -> Result<(), StoreError> {
    check_key(op.key())?;
    match op {
        Op::Put { key, value } => {
            at_most(&format!("the value of `{key}`"), value.len(), MAX_VALUE_BYTES)
        }
        Op::Delete { .. } => Ok(()),
    }
}

fn at_most(what: &str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size <= limit {
        return Ok(());
    }
    Err(StoreError::TooLarge { what: what.into(), size, limit })
}
