//! What a client does not notice: units that refuse, break or close connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

use super::{
    client::{Client, SHOP, get, request, whole},
    rig::{Rig, closed_port},
    unit::{Unit, answer_bare, read_head, say},
};

#[tokio::test]
async fn a_refusing_unit_costs_no_request() {
    let rig = Rig::start().await;
    let unit = Unit::start(|request| async move { say(request.method().to_string()) }).await;
    rig.serve(&[closed_port(), unit.address, closed_port()]).await;
    let mut client = Client::connect(rig.router.http).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().text, "GET");
        assert_eq!(client.post("/", "body").await.unwrap().text, "POST");
    }
}

#[tokio::test]
async fn a_lone_unit_that_comes_up_within_a_moment_is_waited_for() {
    let rig = Rig::start().await;
    let address = closed_port();
    rig.serve(&[address]).await;
    let http = rig.router.http;
    let asking = tokio::spawn(async move { Client::connect(http).await.post("/", "x").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asking.is_finished());
    let _unit = Unit::on(address, |_| async { say("there now") }).await;
    assert_eq!(asking.await.unwrap().unwrap().text, "there now");
}

#[tokio::test]
async fn units_that_all_refuse_are_a_bad_gateway_within_seconds() {
    let rig = Rig::start().await;
    rig.serve(&[closed_port(), closed_port()]).await;
    let started = tokio::time::Instant::now();
    let answer = get(rig.router.http, SHOP, "/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_unit_that_breaks_off_is_tried_once_more_for_a_get_and_never_for_a_post() {
    let rig = Rig::start().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let unit = Unit::raw("127.0.0.1:0".parse().unwrap(), move |mut stream| {
        let count = count.clone();
        async move {
            if read_head(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    assert_eq!(client.post("/", "x").await.unwrap().status, StatusCode::BAD_GATEWAY);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(client.get("/").await.unwrap().status, StatusCode::BAD_GATEWAY);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_unit_killed_under_a_get_is_replaced_by_another() {
    let rig = Rig::start().await;
    let broken = Unit::raw("127.0.0.1:0".parse().unwrap(), |mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let good = Unit::saying("good").await;
    rig.serve(&[broken.address, good.address]).await;
    for _ in 0..10 {
        assert_eq!(get(rig.router.http, SHOP, "/").await.text, "good");
    }
    assert!(broken.connections() > 0);
}

/// A unit that closes each connection after a few answers, or when it was idle for a few milliseconds, and never says so
/// beforehand.
async fn closing_unit() -> Unit {
    let opened = Arc::new(AtomicUsize::new(0));
    Unit::raw("127.0.0.1:0".parse().unwrap(), move |mut stream| {
        let number = opened.fetch_add(1, Ordering::SeqCst);
        async move {
            let idle_limit = Duration::from_millis(5 + number as u64 % 40);
            for round in 0..=number % 4 {
                // A new connection is not closed: nobody could tell that from a crash.
                let limit = if round == 0 { Duration::from_secs(60) } else { idle_limit };
                let head = tokio::time::timeout(limit, read_head(&mut stream)).await;
                let Ok(Some(head)) = head else { return };
                if head.starts_with("POST") {
                    stream.read_exact(&mut [0; 4]).await.unwrap();
                }
                answer_bare(&mut stream, "ok").await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_close_kept_connections_fail_no_request_under_load() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 250;
    let rig = Rig::start().await;
    let units = [closing_unit().await, closing_unit().await];
    rig.serve(&units.each_ref().map(|unit| unit.address)).await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let http = rig.router.http;
        clients.spawn(async move {
            let mut client = Client::connect(http).await;
            for round in 0..REQUESTS {
                let is_post = (round + number) % 3 == 0;
                let asking = if is_post {
                    request("POST", SHOP, "/", "body")
                } else {
                    request("GET", SHOP, "/", "")
                };
                let answer = whole(client.send(asking).await.unwrap()).await.unwrap();
                assert_eq!(
                    (answer.status, answer.text.as_str()),
                    (StatusCode::OK, "ok"),
                    "round {round}, post: {is_post}"
                );
            }
        });
    }
    clients.join_all().await;
    let opened: usize = units.iter().map(Unit::connections).sum();
    assert!(opened < CLIENTS * REQUESTS, "connections were reused at all: {opened}");
}

#[tokio::test]
async fn a_post_shares_connections_once_the_unit_was_seen_to_keep_them() {
    let rig = Rig::start().await;
    let unit = Unit::saying("ok").await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    for _ in 0..3 {
        client.post("/", "x").await.unwrap();
    }
    assert_eq!(unit.connections(), 3, "nothing is known of the unit yet");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let before = unit.connections();
        client.get("/").await.unwrap();
        // A connection that was used a moment ago may still be about to close.
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.post("/", "x").await.unwrap();
        if unit.connections() == before {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "every POST gets a new connection");
    }
}

#[tokio::test]
async fn requests_share_connections_to_a_unit() {
    let rig = Rig::start().await;
    let unit = Unit::saying("ok").await;
    rig.serve(&[unit.address]).await;
    for _ in 0..20 {
        get(rig.router.http, SHOP, "/").await;
    }
    assert_eq!(unit.connections(), 1);
}

#[tokio::test]
async fn a_unit_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let rig = Rig::with(|config| config.timeouts.first_byte = Duration::from_millis(200)).await;
    let unit = Unit::start(|_| std::future::pending()).await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    assert_eq!(client.get("/").await.unwrap().status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(client.post("/", "x").await.unwrap().status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(unit.connections(), 2, "nothing is sent twice");
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_not_taken_for_a_whole_one() {
    let rig = Rig::with(|config| config.timeouts.idle = Duration::from_millis(300)).await;
    let unit = Unit::raw("127.0.0.1:0".parse().unwrap(), |mut stream| async move {
        read_head(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        tokio::io::AsyncWriteExt::write_all(&mut stream, half).await.unwrap();
        std::future::pending().await
    })
    .await;
    rig.serve(&[unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), client.get("/")).await;
    assert!(ended.expect("ended in time").is_err());
}

/// Another node's address, at which a listener's queue is full: what comes is dropped, nothing is answered.
async fn silent_address() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queued.push(connected.unwrap());
    }
    (listener, queued, address)
}

#[tokio::test]
async fn a_unit_on_a_vanished_node_costs_a_second_once_and_no_request() {
    let rig = Rig::start().await;
    let (_listener, _queued, silent) = silent_address().await;
    let unit = Unit::start(|request| async move { say(request.method().to_string()) }).await;
    rig.serve(&[silent, unit.address]).await;
    let mut client = Client::connect(rig.router.http).await;
    let mut slow = 0;
    for _ in 0..40 {
        let started = tokio::time::Instant::now();
        assert_eq!(client.get("/").await.unwrap().text, "GET");
        assert_eq!(client.post("/", "body").await.unwrap().text, "POST");
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        slow += usize::from(started.elapsed() >= Duration::from_millis(900));
    }
    assert!((1..=3).contains(&slow), "it was met and then left alone: {slow}");
}

/// An address of this machine whose packets are dropped from some moment on, as if it were a node that lost its power.
struct Vanishing(String);

impl Vanishing {
    fn new() -> Vanishing {
        let number = std::process::id();
        Vanishing(format!("127.77.{}.{}", number >> 8 & 0xff, number & 0xff | 1))
    }

    fn iptables(&self, action: &str) -> bool {
        ["-s", "-d"].into_iter().all(|side| {
            let rule = ["-w", action, "INPUT", side, &self.0, "-j", "DROP"];
            std::process::Command::new("iptables").args(rule).status().unwrap().success()
        })
    }
}

impl Drop for Vanishing {
    fn drop(&mut self) {
        self.iptables("-D");
    }
}

#[tokio::test]
async fn a_get_in_flight_to_a_node_that_vanishes_is_answered_by_another_unit() {
    let rig = Rig::start().await;
    let node = Vanishing::new();
    let asked = Arc::new(tokio::sync::Notify::new());
    let deaf = Unit::on(format!("{}:0", node.0).parse().unwrap(), {
        let asked = asked.clone();
        move |_| {
            asked.notify_one();
            std::future::pending()
        }
    })
    .await;
    rig.serve(&[deaf.address]).await;
    let http = rig.router.http;
    let ask = |method: &'static str| {
        tokio::spawn(async move {
            let mut client = Client::connect(http).await;
            match method {
                "GET" => client.get("/").await.unwrap(),
                _ => client.post("/", "body").await.unwrap(),
            }
        })
    };
    let (getting, posting) = (ask("GET"), ask("POST"));
    asked.notified().await;
    asked.notified().await;
    let good = Unit::saying("good").await;
    rig.serve(&[deaf.address, good.address]).await;
    assert!(node.iptables("-A"), "this test needs root and iptables");
    let started = tokio::time::Instant::now();
    assert_eq!(getting.await.unwrap().text, "good");
    assert_eq!(posting.await.unwrap().status, StatusCode::BAD_GATEWAY, "it may have been done");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
