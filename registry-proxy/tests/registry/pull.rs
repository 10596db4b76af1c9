//! Pulling: ranges, tags, and what deleting does to them.

use http::Method;

use crate::harness::{Home, image};

#[tokio::test]
async fn parts_of_a_blob_are_served() {
    let home = Home::new();
    let registry = home.start();
    let content: Vec<u8> = (0..3000_u32).map(|n| (n % 251) as u8).collect();
    let path = format!("/v2/shop/blobs/{}", registry.push_blob("shop", &content).await);
    let part = async |range: &str| registry.ask(Method::GET, &path, &[("range", range)], "").await;
    for (range, first, end) in [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 3000),
        ("bytes=-500", 2500, 3000),
        ("bytes=2000-5000", 2000, 3000),
    ] {
        let answer = part(range).await;
        assert_eq!(answer.code(), "206", "{range}");
        assert_eq!(answer.body, content[first..end], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{}/3000", end - 1));
    }
    for range in ["bytes=500-0", "bytes=5000-10000"] {
        assert_eq!(part(range).await.code(), "416", "{range}");
    }
    let head = registry.head(&path).await;
    assert_eq!((head.header("content-length"), head.header("accept-ranges")), ("3000", "bytes"));
}

#[tokio::test]
async fn tags_are_listed_in_pages() {
    let home = Home::new();
    let registry = home.start();
    for tag in ["b", "a", "c"] {
        registry.push_image("shop", tag, "one").await;
    }
    let first = registry.get("/v2/shop/tags/list?n=2").await;
    assert_eq!(first.body, r#"{"name":"shop","tags":["a","b"]}"#);
    assert_eq!(first.header("link"), r#"</v2/shop/tags/list?n=2&last=b>; rel="next""#);
    let rest = registry.get("/v2/shop/tags/list?n=2&last=b").await;
    assert_eq!(
        (rest.body.as_ref(), rest.header("link")),
        (&br#"{"name":"shop","tags":["c"]}"#[..], "")
    );
    assert_eq!(registry.get("/v2/blog/tags/list").await.code(), "404 NAME_UNKNOWN");
}

#[tokio::test]
async fn a_tag_moves_and_a_deleted_manifest_takes_its_tags() {
    let home = Home::new();
    let registry = home.start();
    let one = registry.push_image("shop", "live", "one").await;
    let two = registry.push_image("shop", "live", "two").await;
    assert_eq!(registry.get("/v2/shop/manifests/live").await.body, image("two").as_bytes());
    let delete = async |reference: &str| {
        let path = format!("/v2/shop/manifests/{reference}");
        registry.ask(Method::DELETE, &path, &[], "").await.code()
    };
    assert_eq!(delete(&two).await, "202");
    assert_eq!(registry.get("/v2/shop/manifests/live").await.code(), "404 MANIFEST_UNKNOWN");
    assert_eq!(delete(&two).await, "404 MANIFEST_UNKNOWN");
    registry.put_manifest("shop", "live", &image("one")).await;
    assert_eq!(delete("live").await, "202");
    let path = format!("/v2/shop/manifests/{one}");
    assert_eq!(registry.get(&path).await.body, image("one").as_bytes());
}
