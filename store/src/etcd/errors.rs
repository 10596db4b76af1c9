//! What etcd's errors mean: for a read little, for a transaction whether it may have been applied.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use etcd_client::Error;

use crate::limits::MAX_TXN_BYTES;
use crate::{Revision, StoreError};

/// The beginning of tonic's words for an answer larger than the decode limit.
const ANSWER_TOO_LARGE: &str = "decoded message length too large";

/// A failed read has changed nothing, whatever happened.
pub fn read_error(error: Error) -> StoreError {
    known(&error).unwrap_or_else(|| StoreError::Unavailable {
        detail: "read from etcd".into(),
        source: Some(Arc::new(error)),
    })
}

/// A failed write is over only when etcd said so itself, or was never reached.
pub fn write_error(error: Error) -> StoreError {
    if let Some(known) = known(&error) {
        return known;
    }
    let detail = "write to etcd".into();
    if was_never_sent(&error) {
        return StoreError::Unavailable { detail, source: Some(Arc::new(error)) };
    }
    StoreError::Interrupted { detail, source: Some(Arc::new(error)) }
}

/// Something stored or answered that cannot be.
pub fn corrupt(detail: &str) -> StoreError {
    StoreError::Corrupt { detail: format!("etcd holds or answered {detail}"), source: None }
}

/// Errors by which etcd refuses before it applies anything. Their words are part of its API: its own client
/// tells them apart the same way.
fn known(error: &Error) -> Option<StoreError> {
    let Error::GRpcStatus(status) = error else {
        return None;
    };
    let text = status.message();
    if text.contains("required revision has been compacted") {
        let oldest = Revision(0);
        return Some(StoreError::Compacted { oldest });
    }
    if text.contains("required revision is a future revision") {
        let reason = "the revision lies ahead of the store".into();
        return Some(StoreError::Invalid(reason));
    }
    if text.contains("database space exceeded") {
        let detail = "etcd's space quota is used up".into();
        return Some(StoreError::Full { detail });
    }
    if text.contains("request is too large") {
        return Some(too_large("the transaction in etcd's format", MAX_TXN_BYTES));
    }
    if text.contains(ANSWER_TOO_LARGE) {
        return Some(too_large("an answer of etcd", super::PAGE_BYTES));
    }
    None
}

fn too_large(what: &str, limit: usize) -> StoreError {
    StoreError::TooLarge { what: what.into(), size: limit + 1, limit }
}

/// Whether no connection could be made at all.
fn was_never_sent(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else {
        return false;
    };
    let mut cause = status.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::ConnectionRefused;
        }
        cause = inner.source();
    }
    false
}
