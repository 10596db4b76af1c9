//! A store is filled once, wholly, and again when it was cut off.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::app::App;
use model::name::{AppName, ReleaseNumber};
use model::node::{Addresses, Duty, NodeSpec};
use model::release::{Build, Release, ReleaseState};
use proto::dump::{self, Image, Seed};
use store::{MemoryStore, Store};

use super::*;

fn records() -> Records {
    Records::new(Arc::new(MemoryStore::new()))
}

fn files(folder: &tempfile::TempDir) -> Files {
    Files {
        data: folder.path().to_owned(),
        folder: folder.path().to_owned(),
        identity: folder.path().to_owned(),
        api: folder.path().to_owned(),
    }
}

fn shop() -> App {
    let mut shop = App::new("shop".parse().unwrap(), "olga".parse().unwrap(), Time(1));
    shop.current = Some(ReleaseNumber(2));
    shop
}

fn release(number: u32) -> Release {
    Release {
        app: "shop".parse::<AppName>().unwrap(),
        number: ReleaseNumber(number),
        created: Time(1),
        created_by: "olga".parse().unwrap(),
        summary: String::new(),
        build: Some(Build {
            image: format!("127.0.0.1:5000/shop@sha256:{number}"),
            commit: None,
            processes: Default::default(),
            exposed_port: None,
        }),
        config: Default::default(),
        settings: Default::default(),
        state: ReleaseState::Succeeded,
    }
}

fn node(name: &str) -> NodeSpec {
    NodeSpec {
        name: name.parse().unwrap(),
        addresses: Addresses { agent: "10.0.0.1:1".to_owned(), ..Addresses::default() },
        labels: [("disk".to_owned(), name.to_owned())].into(),
        duty: Duty::Open,
        joined: Time(1),
        admission: String::new(),
    }
}

/// A store as a cluster leaves it.
async fn used() -> Records {
    let records = records();
    let write = Write::new()
        .create(&Life { id: "before".to_owned(), counter: 4, begun: None })
        .create(&shop())
        .create(&release(1))
        .create(&release(2))
        .create(&node("n1"))
        .create(&node("n2"));
    records.commit(write).await.unwrap();
    let other = ["units/u1", "beat", "leader", "joins/j", "builds/shop"];
    let txn = other.iter().fold(Txn::new(), |txn, key| txn.put(*key, "{}"));
    records.store().transact(txn).await.unwrap();
    records
}

async fn write_seed(folder: &tempfile::TempDir, from: &Records, source: &str) {
    let entries = from.store().list("").await.unwrap().entries;
    let seed = Seed {
        version: dump::VERSION,
        source: source.to_owned(),
        entries: entries.len() as u64,
        node: "n1".to_owned(),
        admission: "mark".to_owned(),
        registry: "127.0.0.1:5999".to_owned(),
    };
    let mut text = serde_json::to_string(&seed).unwrap();
    for entry in entries {
        let entry = dump::Entry { key: entry.key, value: STANDARD.encode(&entry.value) };
        text.push('\n');
        text.push_str(&serde_json::to_string(&entry).unwrap());
    }
    std::fs::write(folder.path().join("seed"), text).unwrap();
}

async fn life(records: &Records) -> Life {
    records.get_now::<Life>(Life::PREFIX).await.unwrap().unwrap().value
}

fn embedded(folder: &tempfile::TempDir) -> StoreConfig {
    StoreConfig::Embedded(folder.path().join("store.redb"))
}

fn etcd() -> StoreConfig {
    let (endpoints, prefix) = (Vec::new(), String::new());
    StoreConfig::Etcd(crate::config::EtcdConfig { endpoints, prefix, tls: None })
}

#[tokio::test]
async fn a_backup_begins_a_later_life_on_one_node_that_is_none_of_the_old() {
    let (folder, new) = (tempfile::tempdir().unwrap(), records());
    write_seed(&folder, &used().await, "f00").await;
    found(&new, &files(&folder), &embedded(&folder)).await.unwrap();
    assert_eq!(life(&new).await.counter, 5);
    assert!(!folder.path().join("seed").exists());

    let keys: Vec<String> =
        new.store().list("").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    let expected = [
        "apps/shop",
        "cluster/incarnation",
        "nodes/n1",
        "nodes/n2",
        "releases/shop/00000001",
        "releases/shop/00000002",
    ];
    assert_eq!(keys, expected);
    assert_eq!(new.app(&shop().name).await.unwrap().unwrap().value, shop());
    let images: Vec<String> = new
        .all::<Release>()
        .await
        .unwrap()
        .into_iter()
        .map(|release| release.value.build.unwrap().image)
        .collect();
    assert_eq!(images, ["127.0.0.1:5999/shop@sha256:1", "127.0.0.1:5999/shop@sha256:2"]);
    let [first, second] = &new.all::<NodeSpec>().await.unwrap()[..] else { panic!("two nodes") };
    assert_eq!((first.value.duty, first.value.admission.as_str()), (Duty::Open, "mark"));
    assert_eq!(first.value.labels, node("n1").labels);
    assert!(!second.value.is_member());
}

#[tokio::test]
async fn filling_goes_on_where_it_was_cut_off_and_is_done_once() {
    let (folder, new) = (tempfile::tempdir().unwrap(), records());
    let old = used().await;
    write_seed(&folder, &old, "f00").await;
    let source = source::of_seed(&folder.path().join("seed")).await.unwrap();
    begin(&new, &source.name).await.unwrap();
    new.store().transact(Txn::new().put("apps/shop", "half")).await.unwrap();
    found(&new, &files(&folder), &embedded(&folder)).await.unwrap();
    let first = life(&new).await;

    // Cut off before the seed was removed.
    write_seed(&folder, &old, "f00").await;
    found(&new, &files(&folder), &embedded(&folder)).await.unwrap();
    assert_eq!(life(&new).await, first);
}

#[tokio::test]
async fn a_store_that_holds_something_else_is_left_alone() {
    let (folder, other) = (tempfile::tempdir().unwrap(), used().await);
    write_seed(&folder, &other, "f00").await;
    let before = other.store().list("").await.unwrap();
    found(&other, &files(&folder), &embedded(&folder)).await.unwrap_err();
    assert_eq!(other.store().list("").await.unwrap(), before);

    let half = records();
    half.commit(Write::new().create(&Founding { source: "another".to_owned() })).await.unwrap();
    found(&half, &files(&folder), &embedded(&folder)).await.unwrap_err();
    let foreign = records();
    foreign.store().transact(Txn::new().put("something", "else")).await.unwrap();
    found(&foreign, &files(&folder), &embedded(&folder)).await.unwrap_err();
    assert!(folder.path().join("seed").exists());
}

#[tokio::test]
async fn a_damaged_seed_is_refused_and_nothing_is_written() {
    let (folder, new) = (tempfile::tempdir().unwrap(), records());
    write_seed(&folder, &used().await, "f00").await;
    let path = folder.path().join("seed");
    let text = std::fs::read_to_string(&path).unwrap();
    let shorter = text.rsplit_once('\n').unwrap().0.to_owned();
    for bad in
        [shorter, format!("{text}\n{{}}"), text.replacen("\"version\":1", "\"version\":2", 1)]
    {
        std::fs::write(&path, bad).unwrap();
        found(&new, &files(&folder), &embedded(&folder)).await.unwrap_err();
    }
    assert!(new.store().list("").await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_memory_moves_whole_and_its_file_is_out_of_force_from_then_on() {
    let (folder, new) = (tempfile::tempdir().unwrap(), records());
    let file = folder.path().join("store.redb");
    let old = EmbeddedStore::open(&file).unwrap();
    let entries = used().await.store().list("").await.unwrap().entries;
    let txn = entries.iter().fold(Txn::new(), |txn, it| txn.put(&it.key, it.value.clone()));
    old.transact(txn).await.unwrap();
    drop(old);
    found(&new, &files(&folder), &etcd()).await.unwrap();
    let now = new.store().list("").await.unwrap().entries;
    let moved = |key: &str| now.iter().any(|entry| entry.key == key);
    assert!(moved("units/u1") && moved("nodes/n2") && !moved("leader") && !moved("beat"));
    assert_eq!(life(&new).await.counter, 5);
    assert!(folder.path().join("store.redb.moved").exists() && !file.exists());
    assert!(refuse_moved(&embedded(&folder)).is_err());
    found(&new, &files(&folder), &etcd()).await.unwrap();
}

#[test]
fn groups_fit_a_transaction_and_leave_nothing_out() {
    let small = |count: usize| {
        (0..count).map(|at| (format!("{at}"), bytes::Bytes::from_static(b"x"))).collect::<Vec<_>>()
    };
    for count in [0, 1, 100, 101, 250] {
        let entries = small(count);
        let groups = groups(&entries);
        assert!(groups.iter().all(|group| !group.is_empty() && group.len() <= GROUP_ENTRIES));
        assert_eq!(groups.concat(), entries);
    }
    let large: Vec<_> =
        (0..5).map(|at| (format!("{at}"), bytes::Bytes::from(vec![0; GROUP_BYTES]))).collect();
    assert_eq!(groups(&large).len(), 5);
}

#[tokio::test]
async fn only_releases_in_force_need_their_image() {
    let listing = used().await.store().list("").await.unwrap();
    let image = Image { repository: "shop".to_owned(), digest: "sha256:2".to_owned() };
    assert_eq!(images_in_force(&listing).unwrap(), [image]);
}
