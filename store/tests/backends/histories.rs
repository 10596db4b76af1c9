//! Random histories: the same steps give the same outcomes on every backend, with revisions counted from the start.

use std::cell::Cell;
use std::ops::Range;

use futures_util::StreamExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use store::{
    Change, EmbeddedStore, Entry, Guard, MemoryStore, Op, Outcome, Revision, Store, StoreError, Txn,
};

use crate::server::EtcdServer;

/// Few keys, so that steps meet; among them prefixes and neighbours of each other.
const KEYS: [&str; 6] = ["a", "a/b", "a/c", "a0", "b", "é"];
const PREFIXES: [&str; 5] = ["", "a", "a/", "é", "none"];
const STEPS: Range<usize> = 1..40;
const CASES: u32 = 40;

#[derive(Clone, Debug)]
enum Step {
    Transact(Vec<Condition>, Vec<Op>),
    Get(&'static str),
    List(&'static str),
}

#[derive(Clone, Debug)]
enum Condition {
    Absent(&'static str),
    /// As the store under test says it is now, so that the guard holds.
    AsItIs(&'static str),
    /// At the revision so many after the start, which seldom holds.
    At(&'static str, u64),
}

/// The steps, then a compaction and a watch, both counted from the start.
#[derive(Clone, Debug)]
struct History {
    steps: Vec<Step>,
    compact_before: u64,
    watch_after: u64,
    watched: &'static str,
}

/// What a step showed, with revisions counted from the start.
#[derive(Debug, PartialEq)]
enum Seen {
    Committed(u64),
    Conflict,
    Invalid,
    Entry(Option<(String, Vec<u8>, u64, u64)>),
    Listing(Vec<(String, Vec<u8>, u64, u64)>, u64),
    Told(Vec<(String, Option<Vec<u8>>, u64)>),
    Compacted(u64),
}

#[test]
fn random_histories_go_the_same_way_on_every_backend() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(EtcdServer::start());
    let folder = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    let config = ProptestConfig { cases: CASES, ..ProptestConfig::with_source_file(file!()) };
    let checked = TestRunner::new(config).run(&history(), |history| {
        number.set(number.get() + 1);
        let name = format!("history-{}", number.get());
        runtime.block_on(async {
            let embedded = EmbeddedStore::open(folder.path().join(&name)).unwrap();
            let etcd = server.connect(&format!("/{name}/")).await;
            let expected = play(&MemoryStore::new(), &history).await;
            prop_assert_eq!(&play(&embedded, &history).await, &expected, "embedded");
            prop_assert_eq!(&play(&etcd, &history).await, &expected, "etcd");
            Ok(())
        })
    });
    // The message holds the smallest failing history and the seed that repeats it.
    checked.unwrap_or_else(|error| panic!("{error}"));
}

fn history() -> impl Strategy<Value = History> {
    (
        prop::collection::vec(step(), STEPS),
        0..STEPS.end as u64,
        0..STEPS.end as u64,
        prop::sample::select(&PREFIXES[..]),
    )
        .prop_map(|(steps, compact_before, watch_after, watched)| History {
            steps,
            compact_before,
            watch_after,
            watched,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let conditions = prop::collection::vec(condition(), 0..3);
    let ops = prop::collection::vec(op(), 0..4);
    prop_oneof![
        5 => (conditions, ops).prop_map(|(conditions, ops)| Step::Transact(conditions, ops)),
        1 => prop::sample::select(&KEYS[..]).prop_map(Step::Get),
        1 => prop::sample::select(&PREFIXES[..]).prop_map(Step::List),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let key = || prop::sample::select(&KEYS[..]);
    prop_oneof![
        key().prop_map(Condition::Absent),
        key().prop_map(Condition::AsItIs),
        (key(), 1..STEPS.end as u64).prop_map(|(key, at)| Condition::At(key, at)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = || prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
    prop_oneof![
        3 => (key(), any::<u8>()).prop_map(|(key, byte)| Op::Put { key, value: vec![byte].into() }),
        1 => key().prop_map(|key| Op::Delete { key }),
    ]
}

async fn play(store: &dyn Store, history: &History) -> Vec<Seen> {
    let start = store.list("").await.unwrap().revision;
    let mut seen = Vec::new();
    for step in &history.steps {
        seen.push(take(store, start, step).await);
    }
    let end = store.list("").await.unwrap().revision;
    seen.extend(follow(store, start, (start, end), "").await);
    let length = end.0 - start.0;
    let before = Revision(start.0 + history.compact_before.min(length + 1));
    store.compact(before).await.unwrap();
    let after = Revision(start.0 + history.watch_after.min(length));
    seen.extend(follow(store, start, (after, end), history.watched).await);
    seen
}

async fn take(store: &dyn Store, start: Revision, step: &Step) -> Seen {
    match step {
        Step::Transact(conditions, ops) => {
            let mut guards = Vec::new();
            for condition in conditions {
                guards.push(guard(store, start, condition).await);
            }
            let ops = ops.clone();
            match store.transact(Txn { guards, ops }).await {
                Ok(Outcome::Committed(revision)) => Seen::Committed(revision.0 - start.0),
                Ok(Outcome::Conflict) => Seen::Conflict,
                Err(StoreError::Invalid(_)) => Seen::Invalid,
                Err(error) => panic!("{error:?}"),
            }
        }
        Step::Get(key) => {
            Seen::Entry(store.get(key).await.unwrap().map(|entry| relative(start, entry)))
        }
        Step::List(prefix) => {
            let listing = store.list(prefix).await.unwrap();
            let entries = listing.entries.into_iter();
            Seen::Listing(
                entries.map(|entry| relative(start, entry)).collect(),
                listing.revision.0 - start.0,
            )
        }
    }
}

async fn guard(store: &dyn Store, start: Revision, condition: &Condition) -> Guard {
    let unchanged = |key: &str, modified| Guard::Unchanged { key: key.into(), modified };
    match condition {
        Condition::Absent(key) => Guard::Absent((*key).into()),
        Condition::AsItIs(key) => match store.get(key).await.unwrap() {
            Some(entry) => unchanged(key, entry.modified),
            None => Guard::Absent((*key).into()),
        },
        Condition::At(key, at) => unchanged(key, Revision(start.0 + at)),
    }
}

/// What a watch tells in (after, end]. A last put marks the end of what it has to tell.
async fn follow(
    store: &dyn Store,
    start: Revision,
    (after, end): (Revision, Revision),
    prefix: &str,
) -> Vec<Seen> {
    let mark = format!("{prefix}~mark");
    store.transact(Txn::new().put(mark.clone(), "")).await.unwrap();
    store.transact(Txn::new().delete(mark.clone())).await.unwrap();
    let mut watch = store.watch(prefix, after).await.unwrap();
    let mut seen = Vec::new();
    while let Some(item) = watch.next().await {
        match item {
            Ok(changes) if changes[0].modified() > end && changes[0].key() == mark => break,
            Ok(changes) => seen.push(told(start, changes)),
            Err(StoreError::Compacted { oldest }) => seen.push(Seen::Compacted(oldest.0 - start.0)),
            Err(error) => panic!("{error:?}"),
        }
    }
    seen
}

fn told(start: Revision, changes: Vec<Change>) -> Seen {
    let changes = changes.into_iter().map(|change| {
        let modified = change.modified().0 - start.0;
        match change {
            Change::Put(entry) => (entry.key, Some(entry.value.to_vec()), modified),
            Change::Deleted { key, .. } => (key, None, modified),
        }
    });
    Seen::Told(changes.collect())
}

fn relative(start: Revision, entry: Entry) -> (String, Vec<u8>, u64, u64) {
    (entry.key, entry.value.to_vec(), entry.created.0 - start.0, entry.modified.0 - start.0)
}
