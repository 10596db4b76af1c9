//! Pushing: monolithic, in chunks, resumed, cancelled, and everything that is refused.

use http::Method;

use crate::harness::{Home, IMAGE, digest, files, image};

#[tokio::test]
async fn an_image_is_pushed_and_read_back_by_tag_and_digest() {
    let home = Home::new();
    let registry = home.start();
    assert_eq!(registry.get("/v2/").await.code(), "200");
    let pushed = registry.push_image("team/shop", "v1", "one").await;
    for reference in ["v1", &pushed] {
        let path = format!("/v2/team/shop/manifests/{reference}");
        let answer = registry.get(&path).await;
        assert_eq!(answer.body, image("one").as_bytes());
        assert_eq!(answer.header("content-type"), IMAGE);
        assert_eq!(answer.header("docker-content-digest"), pushed);
        let head = registry.head(&path).await;
        assert_eq!((head.code().as_str(), head.body.len()), ("200", 0));
        assert_eq!(head.header("content-length"), image("one").len().to_string());
    }
    let tags = registry.get("/v2/team/shop/tags/list").await;
    assert_eq!(tags.body, r#"{"name":"team/shop","tags":["v1"]}"#);
}

#[tokio::test]
async fn chunks_are_joined_and_a_lost_place_is_told() {
    let home = Home::new();
    let registry = home.start();
    let location = registry.start_upload("shop").await;
    let patch = async |range: &str, body: &'static str| {
        registry.ask(Method::PATCH, &location, &[("content-range", range)], body).await
    };
    assert_eq!(patch("0-4", "hello").await.header("range"), "0-4");

    let early = patch("7-11", "world").await;
    assert_eq!(early.code(), "416 BLOB_UPLOAD_INVALID");
    assert_eq!((early.header("range"), early.header("location")), ("0-4", location.as_str()));
    let status = registry.get(&location).await;
    assert_eq!((status.code().as_str(), status.header("range")), ("204", "0-4"));
    assert_eq!(patch("5-9", "ab").await.code(), "400 SIZE_INVALID");
    assert_eq!(patch("five", "ab").await.code(), "400 BLOB_UPLOAD_INVALID");

    assert_eq!(patch("5-6", ", ").await.code(), "202");
    let name = digest(b"hello, world");
    let close = format!("{location}?digest={name}");
    let wrong = registry.ask(Method::PUT, &close, &[("content-range", "0-4")], "world").await;
    assert_eq!(wrong.code(), "416 BLOB_UPLOAD_INVALID");
    let done = registry.ask(Method::PUT, &close, &[("content-range", "7-11")], "world").await;
    assert_eq!(done.code(), "201");
    assert_eq!(registry.get(&format!("/v2/shop/blobs/{name}")).await.body, "hello, world");
    assert_eq!(registry.get(&location).await.code(), "404 BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_wrong_digest_stores_nothing() {
    let home = Home::new();
    let registry = home.start();
    let name = digest(b"expected");
    let at_once = format!("/v2/shop/blobs/uploads/?digest={name}");
    let answer = registry.ask(Method::POST, &at_once, &[], "other").await;
    assert_eq!(answer.code(), "400 DIGEST_INVALID");
    let location = registry.start_upload("shop").await;
    let close = format!("{location}?digest={name}");
    let answer = registry.ask(Method::PUT, &close, &[], "other").await;
    assert_eq!(answer.code(), "400 DIGEST_INVALID");
    for content in ["expected", "other"] {
        let path = format!("/v2/shop/blobs/{}", digest(content.as_bytes()));
        assert_eq!(registry.get(&path).await.code(), "404 BLOB_UNKNOWN");
    }
    assert_eq!(files(&home.data()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_cancelled_upload_is_dead_and_leaves_no_file() {
    let home = Home::new();
    let registry = home.start();
    let location = registry.start_upload("shop").await;
    registry.ask(Method::PATCH, &location, &[], "hello").await;
    assert_eq!(files(&home.data()).len(), 1);
    assert_eq!(registry.ask(Method::DELETE, &location, &[], "").await.code(), "204");
    assert_eq!(files(&home.data()).len(), 0);
    let late = registry.ask(Method::PATCH, &location, &[], "hello").await;
    assert_eq!(late.code(), "404 BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_blob_that_is_here_is_mounted_and_another_is_uploaded() {
    let home = Home::new();
    let registry = home.start();
    let here = registry.push_blob("shop", b"layer").await;
    let mount = async |digest: &str| {
        let path = format!("/v2/blog/blobs/uploads/?mount={digest}&from=shop");
        registry.ask(Method::POST, &path, &[], "").await
    };
    let mounted = mount(&here).await;
    assert_eq!(mounted.code(), "201");
    assert_eq!(mounted.header("location"), format!("/v2/blog/blobs/{here}"));
    let missing = mount(&digest(b"missing")).await;
    assert_eq!(missing.code(), "202");
    let close = format!("{}?digest={}", missing.header("location"), digest(b"missing"));
    assert_eq!(registry.ask(Method::PUT, &close, &[], "missing").await.code(), "201");
}

#[tokio::test]
async fn a_manifest_is_refused_unless_it_could_be_pulled() {
    let home = Home::new();
    let registry = home.start();
    let missing = registry.put_manifest("shop", "v1", &image("one")).await;
    assert_eq!(missing.code(), "404 MANIFEST_BLOB_UNKNOWN");
    let torn = registry.put_manifest("shop", "v1", "{").await;
    assert_eq!(torn.code(), "400 MANIFEST_INVALID");
    let large = registry.put_manifest("shop", "v1", &" ".repeat((4 << 20) + 1)).await;
    assert_eq!(large.code(), "413 MANIFEST_INVALID");
    registry.push_image("shop", "v1", "one").await;
    let other = registry.put_manifest("shop", &digest(b"other"), &image("one")).await;
    assert_eq!(other.code(), "400 DIGEST_INVALID");
    assert_eq!(registry.get("/v2/shop/manifests/v2").await.code(), "404 MANIFEST_UNKNOWN");
    assert_eq!(registry.get("/v2/blog/manifests/v1").await.code(), "404 NAME_UNKNOWN");
}

#[tokio::test]
async fn a_disk_at_its_floor_refuses_uploads_and_serves_on() {
    let home = Home::new();
    let registry = home.start();
    let pushed = registry.push_image("shop", "v1", "one").await;
    drop(registry);
    let registry = home.start_with(&[("MIN_FREE", "1000000T")]);
    let refused = registry.ask(Method::POST, "/v2/shop/blobs/uploads/", &[], "").await;
    assert_eq!(refused.code(), "507 DENIED");
    let path = format!("/v2/shop/manifests/{pushed}");
    assert_eq!(registry.get(&path).await.body, image("one").as_bytes());
    let layer = digest(b"layer one");
    assert_eq!(registry.get(&format!("/v2/shop/blobs/{layer}")).await.body, "layer one");
}

#[tokio::test]
async fn four_large_blobs_at_once_arrive_whole() {
    let home = Home::new();
    let registry = home.start();
    let contents: Vec<Vec<u8>> = (0..4_u8).map(|seed| vec![seed; 24 << 20]).collect();
    let pushes = contents.iter().map(|content| registry.push_blob("shop", content));
    let digests = futures_util::future::join_all(pushes).await;
    for (content, digest) in contents.iter().zip(digests) {
        let read = registry.get(&format!("/v2/shop/blobs/{digest}")).await;
        assert!(read.body == *content);
    }
}

#[test]
fn it_does_not_listen_for_other_machines() {
    let home = Home::new();
    let output = home.command(&[("LISTEN", "0.0.0.0:5000")]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("loopback"), "{said}");
}
