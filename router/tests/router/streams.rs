//! Bodies and upgraded connections pass through as they come.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    client::{self, Body, Client, SHOP, request},
    rig::{Rig, closed_port, eventually, unit_id},
    unit::{Unit, say},
};

/// A unit that sends every chunk back as soon as it comes.
async fn echo() -> Unit {
    Unit::start(|request| async move { Response::new(request.into_body().boxed()) }).await
}

/// A body that is written while it is sent.
fn written() -> (mpsc::Sender<Bytes>, Body) {
    let (chunks, receiver) = mpsc::channel(1);
    let frames = ReceiverStream::new(receiver).map(|chunk| Ok(Frame::data(chunk)));
    (chunks, BodyExt::boxed(StreamBody::new(frames)))
}

async fn next_chunk(body: &mut hyper::body::Incoming) -> Bytes {
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
    frame.expect("a chunk in time").unwrap().unwrap().into_data().unwrap()
}

#[tokio::test]
async fn chunks_pass_both_ways_before_the_bodies_end() {
    let rig = Rig::start().await;
    let unit = echo().await;
    rig.serve(&[unit.address]).await;
    let (stream, _) = client::tls(rig.router.https, SHOP, "http/1.1").await;
    for mut client in [Client::connect(rig.router.http).await, Client::over(stream).await] {
        let (chunks, body) = written();
        let asking = Request::post("/").header("host", SHOP).body(body).unwrap();
        chunks.send("one".into()).await.unwrap();
        let mut answer = client.send(asking).await.unwrap().into_body();
        assert_eq!(next_chunk(&mut answer).await, "one");
        chunks.send("two".into()).await.unwrap();
        assert_eq!(next_chunk(&mut answer).await, "two");
        drop(chunks);
        assert!(answer.frame().await.is_none());
    }
}

#[tokio::test]
async fn chunks_pass_both_ways_over_http2() {
    let rig = Rig::start().await;
    let unit = echo().await;
    rig.serve(&[unit.address]).await;
    let mut client = client::http2(rig.router.https, SHOP).await;
    let (chunks, body) = written();
    let asking = Request::post(format!("https://{SHOP}/")).body(body).unwrap();
    chunks.send("one".into()).await.unwrap();
    let mut answer = client.send_request(asking).await.unwrap().into_body();
    assert_eq!(next_chunk(&mut answer).await, "one");
    chunks.send("two".into()).await.unwrap();
    assert_eq!(next_chunk(&mut answer).await, "two");
}

const CHUNK: usize = 64 * 1024;
const LARGE: usize = 100 * 1024 * 1024;

fn large() -> Body {
    let chunk = Bytes::from(vec![7_u8; CHUNK]);
    let frames = stream::iter(0..LARGE / CHUNK).map(move |_| Ok(Frame::data(chunk.clone())));
    BodyExt::boxed(StreamBody::new(frames))
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways_in_flat_memory() {
    let rig = Rig::start().await;
    let unit = echo().await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    let before = resident_bytes();
    let asking = Request::post("/").header("host", SHOP).body(large()).unwrap();
    let mut answer = client.send(asking).await.unwrap().into_body();
    let (mut received, mut peak) = (0, 0);
    while let Some(frame) = answer.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().step_by(4096).all(|byte| *byte == 7));
        received += data.len();
        peak = peak.max(resident_bytes());
    }
    assert_eq!(received, LARGE);
    // Other tests run in this process at the same time; a buffered body would be 100 MiB at least.
    let grown = peak.saturating_sub(before) / (1024 * 1024);
    assert!(grown < 60, "memory grew by {grown} MiB");
}

#[tokio::test]
async fn an_answer_before_the_body_was_sent_arrives() {
    let rig = Rig::start().await;
    let unit = Unit::start(|_| async {
        let mut answer = say("too large");
        *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        answer
    })
    .await;
    rig.serve(&[unit.address]).await;
    let (chunks, body) = written();
    let asking = Request::post("/").header("host", SHOP).body(body).unwrap();
    let mut client = Client::connect(rig.router.http).await;
    chunks.send("only the beginning".into()).await.unwrap();
    let answer = client.send(asking).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn head_answers_keep_their_length_and_their_connection() {
    let rig = Rig::start().await;
    let unit = Unit::saying("twelve bytes").await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    for _ in 0..3 {
        let answer = client.send(request("HEAD", SHOP, "/", "")).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "12");
        assert!(answer.into_body().is_end_stream());
    }
    assert_eq!(unit.connections(), 1);
}

/// A unit that changes the protocol and then echoes bytes.
async fn echo_upgraded() -> Unit {
    Unit::start(|request| async move {
        let protocol = request.headers()["upgrade"].clone();
        tokio::spawn(async move {
            let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
            let mut stream = TokioIo::new(upgraded);
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..count]).await.unwrap();
            }
        });
        let mut answer = say("");
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert("upgrade", protocol);
        answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
        answer.headers_mut().insert("sec-websocket-accept", "accepted".parse().unwrap());
        answer
    })
    .await
}

/// Opens a websocket as far as the router cares: the bytes after the heads are opaque to it.
async fn websocket(rig: &Rig) -> TcpStream {
    let mut stream = TcpStream::connect(rig.router.http).await.unwrap();
    let asking = format!(
        "GET /chat HTTP/1.1\r\nHost: {SHOP}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n"
    );
    stream.write_all(asking.as_bytes()).await.unwrap();
    let head = super::unit::read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.contains("upgrade: websocket") && head.contains("sec-websocket-accept: accepted"),
        "{head}"
    );
    stream
}

async fn assert_echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut echoed = vec![0; text.len()];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut echoed))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(echoed, text.as_bytes());
}

#[tokio::test]
async fn a_websocket_echoes_and_counts_as_in_flight_until_it_ends() {
    let rig = Rig::start().await;
    let unit = echo_upgraded().await;
    rig.serve(&[unit.address]).await;
    let mut stream = websocket(&rig).await;
    assert_echoes(&mut stream, "first").await;

    let other = closed_port();
    rig.serve(&[other]).await;
    let id = unit_id(unit.address).parse().unwrap();
    let report = rig.gateway.report(|report| report.version == 2).await;
    assert_eq!(report.draining.get(&id), Some(&1));
    assert_echoes(&mut stream, "the table changed").await;
    drop(stream);
    rig.gateway.report(|report| report.draining.is_empty()).await;
}

#[tokio::test]
async fn a_silent_websocket_is_ended_and_a_busy_one_is_not() {
    let rig = Rig::with(|config| config.timeouts.tunnel_idle = Duration::from_millis(400)).await;
    let unit = echo_upgraded().await;
    rig.serve(&[unit.address]).await;
    let mut stream = websocket(&rig).await;
    for _ in 0..8 {
        assert_echoes(&mut stream, "busy").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 1])).await;
    assert!(matches!(ended.expect("ended in time"), Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let rig = Rig::start().await;
    let unit = Unit::saying("no websockets here").await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    let mut asking = request("GET", SHOP, "/", "");
    asking.headers_mut().insert("connection", "upgrade".parse().unwrap());
    asking.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let answer = client::whole(client.send(asking).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "no websockets here"));
    assert_eq!(client.get("/").await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_at_the_unit() {
    let rig = Rig::start().await;
    let (left, mut has_left) = mpsc::channel::<()>(1);
    let unit = Unit::start(move |_| {
        let left = left.clone();
        async move {
            let frames = stream::unfold(left, |left| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok(Frame::data(Bytes::from_static(b"tick"))), left))
            });
            Response::new(BodyExt::boxed(StreamBody::new(frames)))
        }
    })
    .await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    let mut answer = client.send(request("GET", SHOP, "/", "")).await.unwrap().into_body();
    next_chunk(&mut answer).await;
    drop((answer, client));
    let metrics = || async { client::get(rig.router.admin, "localhost", "/metrics").await.text };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !metrics().await.contains("router_in_flight 0") {
        assert!(tokio::time::Instant::now() < deadline, "the request is still in flight");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(unit);
    eventually("the unit's stream to end", Duration::from_secs(10), || {
        matches!(has_left.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)).then_some(())
    })
    .await;
}
