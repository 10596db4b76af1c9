//! The program killed in the middle, and clients that go away.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Home, Registry, digest, eventually, files, image};

/// Sends the first half of a body and keeps the connection open.
async fn half_a_put(registry: &Registry, location: &str, name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(registry.oci).await.unwrap();
    let head = format!(
        "PUT {location}?digest={name} HTTP/1.1\r\nhost: {}\r\ncontent-length: 2000000\r\n\r\n",
        registry.oci
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![7; 1_000_000]).await.unwrap();
    stream
}

#[tokio::test]
async fn a_kill_in_the_middle_of_an_upload_leaves_what_was_acknowledged_and_nothing_else() {
    let home = Home::new();
    let registry = home.start();
    let pushed = registry.push_image("shop", "v1", "one").await;
    let acknowledged = files(&home.data()).len();
    let name = digest(&vec![7; 2_000_000]);
    let location = registry.start_upload("shop").await;
    let stream = half_a_put(&registry, &location, &name).await;
    let uploads = home.data().join("uploads");
    eventually("half of the body is on the disk", async || {
        files(&uploads).iter().any(|file| file.metadata().unwrap().len() == 1_000_000)
    })
    .await;
    drop(registry);
    drop(stream);

    let registry = home.start();
    assert_eq!(files(&home.data()).len(), acknowledged);
    assert_eq!(registry.get(&format!("/v2/shop/blobs/{name}")).await.code(), "404 BLOB_UNKNOWN");
    assert_eq!(registry.get(&location).await.code(), "404 BLOB_UPLOAD_UNKNOWN");
    let path = format!("/v2/shop/manifests/{pushed}");
    assert_eq!(registry.get(&path).await.body, image("one").as_bytes());
}

#[tokio::test]
async fn a_client_that_went_away_resumes_where_it_was() {
    let home = Home::new();
    let registry = home.start();
    let name = digest(&vec![7; 2_000_000]);
    let location = registry.start_upload("shop").await;
    drop(half_a_put(&registry, &location, &name).await);
    let mut size = 0;
    eventually("the upload is free again", async || {
        let status = registry.get(&location).await;
        size = status.header("range").rsplit('-').next().unwrap().parse().unwrap_or(0) + 1;
        status.code() == "204" && size > 1
    })
    .await;
    let close = format!("{location}?digest={name}");
    let rest = vec![7; 2_000_000 - size];
    assert_eq!(registry.ask(http::Method::PUT, &close, &[], rest).await.code(), "201");
    assert_eq!(registry.head(&format!("/v2/shop/blobs/{name}")).await.code(), "200");
}

#[tokio::test]
async fn a_stop_waits_for_the_request_under_way() {
    let home = Home::new();
    let registry = home.start();
    let name = digest(&vec![7; 2_000_000]);
    let location = registry.start_upload("shop").await;
    let mut stream = half_a_put(&registry, &location, &name).await;
    let uploads = home.data().join("uploads");
    eventually("half of the body is on the disk", async || {
        files(&uploads).iter().any(|file| file.metadata().unwrap().len() == 1_000_000)
    })
    .await;
    let stopped = tokio::task::spawn_blocking(move || registry.stop());
    stream.write_all(&vec![7; 1_000_000]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(stopped.await.unwrap(), Some(0));
    let registry = home.start();
    assert_eq!(registry.head(&format!("/v2/shop/blobs/{name}")).await.code(), "200");
}
