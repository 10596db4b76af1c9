//! Several registries of one cluster: what is pushed to one outlives it, and what one has all can serve.

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use crate::harness::{Home, digest, eventually, files, image};

async fn has(registry: &crate::harness::Registry, path: &str) -> bool {
    registry.head(path).await.code() == "200"
}

#[tokio::test]
async fn an_image_that_was_acknowledged_outlives_the_node_it_was_pushed_to() {
    let [one, two, three] = Home::cluster();
    let (first, second, third) = (one.start(), two.start(), three.start());
    let manifest = first.push_image("shop", "v1", "one").await;
    let layer = digest(b"layer one");
    let blob = format!("/v2/shop/blobs/{layer}");
    // A question for a blob's existence is answered from what the node itself has.
    let copies = [has(&second, &blob).await, has(&third, &blob).await];
    assert_eq!(copies.iter().filter(|copy| **copy).count(), 1, "{copies:?}");
    drop(first);
    for registry in [&second, &third] {
        let answer = registry.get(&format!("/v2/shop/manifests/{manifest}")).await;
        assert_eq!((answer.code().as_str(), &answer.body[..]), ("200", image("one").as_bytes()));
        assert_eq!(registry.get("/v2/shop/manifests/v1").await.body, image("one").as_bytes());
        assert_eq!(registry.get(&blob).await.body, "layer one");
    }
    // Both have it all now, so either is enough.
    drop(second);
    assert_eq!(third.get(&blob).await.body, "layer one");
}

#[tokio::test]
async fn what_nobody_has_is_unknown_and_a_lie_is_not_stored() {
    let [one, two] = Home::cluster();
    let (first, second) = (one.start(), two.start());
    let manifest = first.push_image("shop", "v1", "one").await;
    let absent = digest(b"absent");
    assert_eq!(second.get(&format!("/v2/shop/blobs/{absent}")).await.code(), "404 BLOB_UNKNOWN");
    let path = format!("/v2/shop/manifests/{absent}");
    assert_eq!(second.get(&path).await.code(), "404 MANIFEST_UNKNOWN");
    assert_eq!(second.get("/v2/blog/manifests/v1").await.code(), "404 NAME_UNKNOWN");

    // The first node's disk rots, the second one's copy is gone: nothing wrong comes over.
    let layer = digest(b"layer one");
    let hex = layer.trim_start_matches("sha256:");
    for home in [&one, &two] {
        let all = files(&home.data().join("blobs"));
        let path = all.iter().find(|path| path.ends_with(hex)).unwrap();
        match home.data() == one.data() {
            true => std::fs::write(path, "layer 0ne").unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    let answer = second.get(&format!("/v2/shop/blobs/{layer}")).await;
    assert_eq!(answer.code(), "400 DIGEST_INVALID");
    assert!(!has(&second, &format!("/v2/shop/blobs/{layer}")).await);
    assert!(has(&second, &format!("/v2/shop/manifests/{manifest}")).await);
}

#[tokio::test]
async fn many_who_want_the_same_blob_fetch_it_once() {
    let [one, two, three] = Home::cluster();
    let (first, _second) = (one.start(), two.start());
    let third = three.start();
    let content = vec![7; 3 << 20];
    let blob = format!("/v2/shop/blobs/{}", first.push_blob("shop", &content).await);
    let asked = (0..8).map(|_| third.get(&blob));
    for answer in futures_util::future::join_all(asked).await {
        assert!(answer.body[..] == content[..]);
    }
    assert_eq!(files(&three.data().join("blobs")).len(), 1);
    assert!(files(&three.data().join("uploads")).is_empty());
}

#[tokio::test]
async fn a_push_counts_only_with_a_second_node_unless_the_cluster_is_one_or_two() {
    let [one, two, three] = Home::cluster();
    // Alone of three: cut off, most likely.
    let first = one.start();
    first.push_blob("shop", b"config one").await;
    first.push_blob("shop", b"layer one").await;
    let refused = first.put_manifest("shop", "v1", &image("one")).await;
    assert_eq!(refused.code(), "424 UNAVAILABLE");
    drop(first);

    // One of two: it goes on, and says so.
    one.know(2, &[&one, &two]);
    let first = one.start();
    let alone = first.put_manifest("shop", "v1", &image("one")).await;
    assert_eq!(alone.code(), "201");
    assert!(alone.header("warning").contains("one node only"), "{alone:?}");
    drop(first);

    // The only one.
    one.know(3, &[&one]);
    let first = one.start();
    let only = first.put_manifest("shop", "v1", &image("one")).await;
    assert_eq!((only.code().as_str(), only.header("warning")), ("201", ""));
    drop((three, first));
}

#[tokio::test]
async fn a_node_without_room_takes_no_copy_and_the_push_says_so() {
    let [one, two] = Home::cluster();
    let first = one.start();
    let _second = two.start_with(&[("MIN_FREE", "1000000G")]);
    first.push_blob("shop", b"config one").await;
    first.push_blob("shop", b"layer one").await;
    let refused = first.put_manifest("shop", "v1", &image("one")).await;
    assert_eq!(refused.code(), "424 UNAVAILABLE");
    assert!(String::from_utf8_lossy(&refused.body).contains("has room"), "{refused:?}");
}

#[tokio::test]
async fn what_stays_is_made_up_for_when_the_controller_says_so() {
    let [one, two] = Home::cluster();
    one.know(1, &[&one]);
    let first = one.start();
    let old = first.push_image("shop", "v1", "old").await;
    let kept = first.push_image("shop", "v2", "kept").await;
    drop(first);

    one.know(2, &[&one, &two]);
    let (first, second) = (one.start(), two.start());
    let then = SystemTime::now() - Duration::from_secs(7200);
    for file in files(&one.data()) {
        File::open(file).unwrap().set_modified(then).unwrap();
    }
    let controller = one.identity("controller");
    first.retain(&controller, "shop", &[&kept]).await.unwrap();
    // Tags are told of what the node itself has, and come last.
    let has_it = async || second.get("/v2/shop/tags/list").await.body.ends_with(b"[\"v2\"]}");
    eventually("the new node has what stays", has_it).await;
    drop(first);
    assert_eq!(
        second.get(&format!("/v2/shop/manifests/{kept}")).await.body,
        image("kept").as_bytes()
    );
    assert_eq!(
        second.get(&format!("/v2/shop/manifests/{old}")).await.code(),
        "404 MANIFEST_UNKNOWN"
    );
}

#[tokio::test]
async fn only_registries_of_the_cluster_are_served() {
    let [one, two] = Home::cluster();
    let first = one.start();
    first.push_blob("shop", b"secret").await;
    one.know(2, &[&one]);
    drop(first);
    // The second node was taken out; its certificate still is of the same authority.
    let (first, second) = (one.start(), two.start());
    let blob = format!("/v2/shop/blobs/{}", digest(b"secret"));
    assert_eq!(second.get(&blob).await.code(), "404 BLOB_UNKNOWN");
    assert_eq!(first.get(&blob).await.body, "secret");
}
