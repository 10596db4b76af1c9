//! Clients' connections: how long they live and how many there may be.

use std::time::Duration;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    client::{Client, SHOP, get},
    rig::{Rig, eventually},
    unit::Unit,
};

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let rig = Rig::with(|config| config.timeouts.client = Duration::from_millis(300)).await;
    let mut stream = TcpStream::connect(rig.router.http).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let mut answer = Vec::new();
    let ended =
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection stays open");
}

#[tokio::test]
async fn a_body_that_never_comes_is_a_request_timeout() {
    let rig = Rig::with(|config| config.timeouts.first_byte = Duration::from_millis(300)).await;
    let unit = Unit::start(|request| async move {
        use http_body_util::BodyExt;
        request.into_body().collect().await.map(|_| ()).unwrap_or_default();
        super::unit::say("read")
    })
    .await;
    rig.serve(&[unit.address]).await;
    let mut stream = TcpStream::connect(rig.router.http).await.unwrap();
    let asking = format!("POST / HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: 10\r\n\r\nhalf");
    stream.write_all(asking.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut status)).await;
    read.expect("an answer in time").unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_kept_connection_outlives_table_changes() {
    let rig = Rig::start().await;
    let (first, second) = (Unit::saying("first").await, Unit::saying("second").await);
    rig.serve(&[first.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    assert_eq!(client.get("/").await.unwrap().text, "first");
    rig.serve(&[second.address]).await;
    assert_eq!(client.get("/").await.unwrap().text, "second");
    rig.serve(&[]).await;
    assert_eq!(client.get("/").await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    rig.serve(&[first.address]).await;
    assert_eq!(client.get("/").await.unwrap().text, "first");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let rig = Rig::with(|config| config.limits.connections = 2).await;
    let unit = Unit::saying("ok").await;
    rig.serve(&[unit.address]).await;
    let mut holding = Vec::new();
    for _ in 0..2 {
        holding.push(TcpStream::connect(rig.router.http).await.unwrap());
    }
    let http = rig.router.http;
    let waiting = tokio::spawn(async move { get(http, SHOP, "/").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    drop(holding);
    eventually("the waiting client's turn", Duration::from_secs(10), || {
        waiting.is_finished().then_some(())
    })
    .await;
    assert_eq!(waiting.await.unwrap().text, "ok");
}
