//! What every answer has in common: ids, one error shape, limits, and failures of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use proto::problem::Code;
use serde_json::{Value, json};
use store::{Entry, Listing, MemoryStore, Outcome, Revision, Store, StoreError, Txn, Watch};

use crate::harness::{Platform, START_MS};

#[tokio::test]
async fn every_error_is_a_problem() {
    let platform = Platform::start().await;
    let root = platform.register("root").await;
    platform.get("", "/").await.problem(Code::NotFound);
    platform.get("", "/v1/nothing").await.problem(Code::NotFound);
    platform.get(&root, "/v1/apps/%ff").await.problem(Code::NotFound);
    let wrong_method = platform.call(&root, "PUT", "/v1/apps", Value::Null).await;
    assert_eq!(wrong_method.ok(405)["code"], "invalid");
    let garbage = async |body: &str| {
        let request = platform.request(&root, "POST", "/v1/apps", body.to_owned());
        platform.send(request).await.status().as_u16()
    };
    assert_eq!(garbage("{").await, 400);
    assert_eq!(garbage("[1]").await, 400);
    assert_eq!(garbage("{\"name\":7}").await, 400);
    assert_eq!(garbage(&"x".repeat(2 * 1024 * 1024 + 1)).await, 413);
    let query = platform.get(&root, "/v1/apps/none/rollout?generation=x").await;
    query.problem(Code::NotFound);
    platform.call(&root, "POST", "/v1/apps", json!({"name": "shop"})).await.ok(201);
    platform.get(&root, "/v1/apps/shop/rollout?generation=x").await.problem(Code::Invalid);
    let plain = platform.get(&root, "/v1/apps/shop/run").await;
    plain.problem(Code::Invalid);
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_any_other_replaced() {
    let platform = Platform::start().await;
    for (given, kept) in [("build-7.a_b", true), ("with space", false), (&"x".repeat(65), false)] {
        let mut request = platform.request("", "GET", "/v1/info", "");
        request.headers_mut().insert("x-request-id", given.parse().unwrap());
        let response = platform.send(request).await;
        let id = response.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(id == given, kept, "{given} {id}");
        assert!(!id.is_empty());
    }
}

#[tokio::test]
async fn times_are_rfc_3339() {
    let platform = Platform::start().await;
    let root = platform.register("root").await;
    let shop = platform.call(&root, "POST", "/v1/apps", json!({"name": "shop"})).await.ok(201);
    assert_eq!(START_MS, 1_893_456_000_000);
    assert_eq!(shop["created"], "2030-01-01T00:00:00Z");
}

#[test]
fn the_openapi_document_is_the_one_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    compare_golden(path, &controller::api::openapi_json());
}

/// Compares with a checked-in file; `TRIREME_BLESS=1` rewrites it.
pub fn compare_golden(path: &str, now: &str) {
    if std::env::var_os("TRIREME_BLESS").is_some() {
        std::fs::write(path, now).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    let differs = golden.lines().zip(now.lines()).find(|(golden, now)| golden != now);
    assert!(
        golden == now,
        "{path} is out of date ({differs:?}): look at the difference, then run with TRIREME_BLESS=1"
    );
}

#[tokio::test]
async fn the_served_document_is_the_same() {
    let platform = Platform::start().await;
    let served = platform.get("", "/v1/openapi.json").await;
    assert_eq!(served.text(), controller::api::openapi_json());
    assert_eq!(served.headers["content-type"], "application/json");
}

/// A store whose writes fail as told.
#[derive(Default)]
struct Failing {
    inner: MemoryStore,
    how: Arc<AtomicU8>,
}

#[async_trait]
impl Store for Failing {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match self.how.load(Ordering::SeqCst) {
            4 => Err(StoreError::Corrupt { detail: "torn page 7".to_owned(), source: None }),
            _ => self.inner.get(key).await,
        }
    }
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.inner.list(prefix).await
    }
    async fn transact(&self, txn: Txn) -> Result<Outcome, StoreError> {
        let detail = || "no".to_owned();
        match self.how.load(Ordering::SeqCst) {
            1 => Err(StoreError::Full { detail: detail() }),
            2 => Err(StoreError::TimedOut(std::time::Duration::from_secs(5))),
            3 => Err(StoreError::Unavailable { detail: detail(), source: None }),
            _ => self.inner.transact(txn).await,
        }
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, after).await
    }
    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }
}

#[tokio::test]
async fn a_failing_store_is_told_truthfully() {
    let failing = Failing::default();
    let how = failing.how.clone();
    let platform = Platform::with("127.0.0.1:9", Arc::new(failing)).await;
    let root = platform.register("root").await;
    let create = || platform.call(&root, "POST", "/v1/apps", json!({"name": "shop"}));
    how.store(1, Ordering::SeqCst);
    create().await.problem(Code::DiskFull);
    how.store(2, Ordering::SeqCst);
    let unknown = create().await.problem(Code::Unavailable);
    assert!(unknown.message.contains("may have happened"), "{unknown}");
    how.store(3, Ordering::SeqCst);
    let down = create().await.problem(Code::Unavailable);
    assert!(down.message.contains("nothing was changed"), "{down}");
    how.store(4, Ordering::SeqCst);
    let internal = create().await.problem(Code::Internal);
    assert!(!format!("{internal:?}").contains("torn page"), "{internal:?}");
    how.store(0, Ordering::SeqCst);
    create().await.ok(201);
}
