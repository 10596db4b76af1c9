//! A disk that fails under the embedded store, and the grouping of its transactions.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::future::join_all;
use redb::backends::FileBackend;
use redb::{Builder, StorageBackend};

use super::*;

/// Switches that the test and the disk under the store share.
#[derive(Debug, Default)]
struct Faults {
    fail_writes: AtomicBool,
    fail_syncs: AtomicBool,
    syncs: AtomicUsize,
}

/// A real file whose writes and syncs can be made to fail.
#[derive(Debug)]
struct FaultyFile {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        fail_if(&self.faults.fail_writes, io::ErrorKind::StorageFull)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        fail_if(&self.faults.fail_syncs, io::ErrorKind::Other)?;
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        fail_if(&self.faults.fail_writes, io::ErrorKind::StorageFull)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn fail_if(switch: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
    match switch.load(Ordering::SeqCst) {
        true => Err(kind.into()),
        false => Ok(()),
    }
}

fn faulty_store(folder: &Path) -> (EmbeddedStore, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let path = folder.join("store");
    let opener = faulty_opener(path.clone(), faults.clone());
    let store = EmbeddedStore::start(opener, Space::new(&path, 0)).unwrap();
    (store, faults)
}

fn faulty_opener(path: PathBuf, faults: Arc<Faults>) -> Opener {
    Box::new(move || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = FileBackend::new(options.open(&path).unwrap()).unwrap();
        let faults = faults.clone();
        Builder::new().create_with_backend(FaultyFile { file, faults }).map_err(disk::explain)
    })
}

fn put(key: &str, value: &'static str) -> Txn {
    Txn::new().put(key, value)
}

#[tokio::test]
async fn a_disk_that_fills_up_loses_nothing_and_the_store_goes_on_after() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = faulty_store(folder.path());
    let first = store.transact(put("a", "1")).await.unwrap();
    faults.fail_writes.store(true, Ordering::SeqCst);
    let error = store.transact(put("a", "2")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    faults.fail_writes.store(false, Ordering::SeqCst);

    let second = store.transact(put("b", "1")).await.unwrap();
    let (Outcome::Committed(first), Outcome::Committed(second)) = (first, second) else {
        panic!("a put without guards met a conflict");
    };
    assert!(second > first);
    let found = store.get("a").await.unwrap().unwrap();
    let is_kept = found.value == "1" || (error.is_outcome_unknown() && found.value == "2");
    assert!(is_kept, "{error:?} left {found:?}");
}

#[tokio::test]
async fn a_failed_sync_is_never_acknowledged_and_watches_relist() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = faulty_store(folder.path());
    store.transact(put("a", "1")).await.unwrap();
    let before = store.list("").await.unwrap().revision;
    let mut changes = store.watch("", before).await.unwrap();
    faults.fail_syncs.store(true, Ordering::SeqCst);
    let error = store.transact(put("a", "2")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let refused = store.transact(put("a", "3")).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    faults.fail_syncs.store(false, Ordering::SeqCst);

    store.transact(put("b", "1")).await.unwrap();
    let after = store.list("").await.unwrap();
    // Either nothing of it happened and the watch goes on, or the watch is told to list anew.
    match changes.next().await.unwrap() {
        Ok(told) => {
            assert_eq!(told[0].key(), "b");
            assert_eq!(after.entries[0].value, "1");
            assert_eq!(after.revision, Revision(before.0 + 1));
        }
        Err(StoreError::Compacted { oldest }) => assert!(oldest > before),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn transactions_that_wait_together_share_a_sync() {
    const TXNS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = faulty_store(folder.path());
    store.transact(put("a", "1")).await.unwrap();
    let before = faults.syncs.load(Ordering::SeqCst);
    store.transact(put("a", "2")).await.unwrap();
    let each = faults.syncs.load(Ordering::SeqCst) - before;
    assert!(each >= 1, "an acknowledged transaction was synced");

    let before = faults.syncs.load(Ordering::SeqCst);
    let txns = (0..TXNS).map(|index| store.transact(put(&format!("k{index}"), "x")));
    for outcome in join_all(txns).await {
        assert_ne!(outcome.unwrap(), Outcome::Conflict);
    }
    let together = faults.syncs.load(Ordering::SeqCst) - before;
    assert!((each..TXNS * each / 4).contains(&together), "{together}");
}

#[tokio::test]
async fn a_transaction_without_effect_touches_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = faulty_store(folder.path());
    store.transact(put("a", "1")).await.unwrap();
    let before = faults.syncs.load(Ordering::SeqCst);
    let conflict = store.transact(Txn::new().absent("a").put("a", "2")).await;
    assert_eq!(conflict.unwrap(), Outcome::Conflict);
    store.transact(Txn::new().delete("none")).await.unwrap();
    assert_eq!(faults.syncs.load(Ordering::SeqCst), before);
}
