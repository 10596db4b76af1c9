//! The controller says what stays; a push beside it loses nothing.

use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::harness::{Home, digest, files, image};

/// Makes every file look as if nobody had relied on it for two hours.
fn age(folder: &Path) {
    let then = SystemTime::now() - Duration::from_secs(7200);
    for file in files(folder) {
        File::open(file).unwrap().set_modified(then).unwrap();
    }
}

#[tokio::test]
async fn what_is_not_kept_goes_and_what_is_shared_stays() {
    let home = Home::new();
    let registry = home.start();
    let controller = home.identity("controller");
    let (one, two) = (
        registry.push_image("shop", "v1", "one").await,
        registry.push_image("shop", "v2", "two").await,
    );
    let other = registry.push_image("blog", "v1", "two").await;
    age(&home.data());
    let gone = registry.retain(&controller, "shop", &[&one]).await.unwrap();
    // The other repository still names the layers and the manifest of `two`.
    assert_eq!((gone.manifests_deleted, gone.blobs_deleted), (1, 0));
    assert_eq!(
        registry.get(&format!("/v2/shop/manifests/{two}")).await.code(),
        "404 MANIFEST_UNKNOWN"
    );
    assert_eq!(registry.get("/v2/shop/manifests/v2").await.code(), "404 MANIFEST_UNKNOWN");
    assert_eq!(registry.get(&format!("/v2/blog/manifests/{other}")).await.code(), "200");

    age(&home.data());
    let gone = registry.retain(&controller, "blog", &[]).await.unwrap();
    let freed = image("two").len() + "config two".len() + "layer two".len();
    assert_eq!(
        (gone.manifests_deleted, gone.blobs_deleted, gone.bytes_freed),
        (1, 3, freed as u64)
    );
    assert_eq!(registry.get("/v2/blog/tags/list").await.code(), "404 NAME_UNKNOWN");
    assert_eq!(registry.get("/v2/shop/manifests/v1").await.body, image("one").as_bytes());
    let layer = digest(b"layer one");
    assert_eq!(registry.get(&format!("/v2/shop/blobs/{layer}")).await.body, "layer one");
}

#[tokio::test]
async fn what_was_pushed_or_asked_for_within_the_hour_stays() {
    let home = Home::new();
    let registry = home.start();
    let controller = home.identity("controller");
    let kept = registry.push_image("shop", "v1", "one").await;
    let (asked, mounted, forgotten) = (
        registry.push_blob("shop", b"asked").await,
        registry.push_blob("shop", b"mounted").await,
        registry.push_blob("shop", b"forgotten").await,
    );
    age(&home.data());
    // A client that hears that a blob is here does not send it.
    registry.head(&format!("/v2/shop/blobs/{asked}")).await;
    let mount = format!("/v2/shop/blobs/uploads/?mount={mounted}&from=x");
    registry.ask(http::Method::POST, &mount, &[], "").await;
    // An image whose release the controller does not know yet.
    let fresh = registry.push_image("shop", "v2", "two").await;
    let gone = registry.retain(&controller, "shop", &[&kept]).await.unwrap();
    assert_eq!((gone.manifests_deleted, gone.blobs_deleted), (0, 1));
    for digest in [asked, mounted] {
        assert_eq!(registry.head(&format!("/v2/shop/blobs/{digest}")).await.code(), "200");
    }
    assert_eq!(registry.head(&format!("/v2/shop/blobs/{forgotten}")).await.code(), "404");
    assert_eq!(registry.head(&format!("/v2/shop/manifests/{fresh}")).await.code(), "200");
}

#[tokio::test]
async fn pushes_beside_a_retention_that_never_rests_lose_nothing() {
    let home = Home::new();
    let registry = home.start();
    let controller = home.identity("controller");
    let kept = registry.push_image("shop", "v0", "kept").await;
    // A layer that was left long ago, which every push finds here and does not send.
    let layer = registry.push_blob("shop", b"layer old").await;
    registry.push_blob("shop", b"config old").await;
    let blob = home.data().join("blobs");
    let pushes = async {
        for _ in 0..40 {
            age(&blob);
            let head = registry.head(&format!("/v2/shop/blobs/{layer}")).await;
            if head.code() == "404" {
                registry.push_blob("shop", b"layer old").await;
            }
            registry.push_blob("shop", b"config old").await;
            let put = registry.put_manifest("shop", "old", &image("old")).await;
            assert_eq!(put.code(), "201");
            let path = format!("/v2/shop/manifests/{}", put.header("docker-content-digest"));
            assert_eq!(registry.ask(http::Method::DELETE, &path, &[], "").await.code(), "202");
        }
    };
    let retentions = async {
        loop {
            registry.retain(&controller, "shop", &[&kept]).await.unwrap();
        }
    };
    tokio::select! {
        () = pushes => {}
        () = retentions => {}
    }
    assert_eq!(registry.get("/v2/shop/manifests/v0").await.code(), "200");
}

#[tokio::test]
async fn only_the_controller_says_what_stays() {
    let home = Home::new();
    let registry = home.start();
    registry.push_image("shop", "v1", "one").await;
    for role in ["builder", "agent", "router"] {
        let refused = registry.retain(&home.identity(role), "shop", &[]).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{role}");
    }
    let stranger = Home::new();
    assert!(registry.retain(&stranger.identity("controller"), "shop", &[]).await.is_err());
    assert_eq!(registry.get("/v2/shop/manifests/v1").await.code(), "200");
}
