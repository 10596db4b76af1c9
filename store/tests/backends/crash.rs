//! SIGKILL in the middle of writes: what was acknowledged is there, and nothing is there by half.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use store::{EmbeddedStore, Store, StoreError, Txn};

/// Tells the child process which file to write to.
const FILE: &str = "STORE_CRASH_FILE";
/// Tells it what its keys begin with.
const ROUND: &str = "STORE_CRASH_ROUND";
const WORKERS: usize = 4;
/// How many acknowledgements the killer waits for in each round; 0 kills while the file is being opened.
const ACKNOWLEDGED: [usize; 8] = [1, 0, 7, 30, 0, 2, 100, 13];

#[tokio::test]
async fn acknowledged_transactions_survive_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut acknowledged = BTreeSet::new();
    for (round, count) in ACKNOWLEDGED.into_iter().enumerate() {
        acknowledged.extend(write_until_killed(&path, round, count));
        check(&path, &acknowledged).await;
    }
    assert!(acknowledged.len() >= ACKNOWLEDGED.iter().sum());
}

/// Runs the child, kills it after `count` acknowledgements, and gives all it made.
fn write_until_killed(path: &Path, round: usize, count: usize) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::child_writes_until_killed"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut keys = output
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("acknowledged ").map(str::to_owned));
    let mut acknowledged: Vec<String> = keys.by_ref().take(count).collect();
    assert_eq!(acknowledged.len(), count, "the child ended by itself");
    if count > 0 {
        let error = EmbeddedStore::open(path).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    }
    // On Unix this is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(keys);
    acknowledged
}

async fn check(path: &Path, acknowledged: &BTreeSet<String>) {
    let store = EmbeddedStore::open(path).unwrap();
    let listing = store.list("log/").await.unwrap();
    let found: BTreeSet<String> = listing.entries.into_iter().map(|it| it.key).collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
    for worker in 0..WORKERS {
        let left = store.get(&format!("left/{worker}")).await.unwrap();
        let right = store.get(&format!("right/{worker}")).await.unwrap();
        assert_eq!(left.map(|it| it.value), right.map(|it| it.value));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of acknowledged_transactions_survive_sigkill"]
async fn child_writes_until_killed() {
    let path = env::var(FILE).unwrap();
    let round = env::var(ROUND).unwrap();
    let store = Arc::new(EmbeddedStore::open(path).unwrap());
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(write_forever(store.clone(), round.clone(), worker)))
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

async fn write_forever(store: Arc<EmbeddedStore>, round: String, worker: usize) {
    for number in 0_u64.. {
        let key = format!("log/{round}/{worker}/{number}");
        let value = format!("{round}/{number}");
        let txn = Txn::new()
            .put(format!("left/{worker}"), value.clone())
            .absent(key.clone())
            .put(key.clone(), vec![b'x'; 3000])
            .put(format!("right/{worker}"), value);
        store.transact(txn).await.unwrap();
        writeln!(io::stdout().lock(), "\nacknowledged {key}").unwrap();
    }
}
