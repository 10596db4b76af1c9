//! What units see of a request, and requests that no unit sees.

use http::StatusCode;

use super::{
    client::{self, SHOP, bare, body},
    rig::Rig,
    unit::{Unit, say},
};

/// A unit that answers with the request as it came.
async fn mirror() -> Unit {
    Unit::start(|request| async move {
        let mut lines = vec![format!("{} {}", request.method(), request.uri())];
        for (name, value) in request.headers() {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        say(lines.join("\n"))
    })
    .await
}

#[tokio::test]
async fn a_unit_sees_who_asked_for_what() {
    let rig = Rig::start().await;
    let unit = mirror().await;
    rig.serve(&[unit.address]).await;
    let asking = "GET /a%2Fb;c?d=1&&e HTTP/1.1\r\nHost: Shop.apps.localhost:81\r\nX-Forwarded-For: 6.6.6.6\r\n\
                  X-Request-Id: mine\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\r\n";
    let answer = bare(rig.router.http, asking).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let port = format!("x-forwarded-port: {}", rig.router.http.port());
    for line in [
        "GET /a%2Fb;c?d=1&&e",
        "host: Shop.apps.localhost:81",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: Shop.apps.localhost:81",
        "x-request-id: mine",
        &port,
    ] {
        assert!(answer.lines().any(|found| found == line), "{line} in {answer}");
    }
    assert!(!answer.contains("x-hop") && !answer.contains("6.6.6.6"), "{answer}");
}

#[tokio::test]
async fn http2_carries_its_authority_as_host() {
    let rig = Rig::start().await;
    let unit = mirror().await;
    rig.serve(&[unit.address]).await;
    let mut client = client::http2(rig.router.https, SHOP).await;
    for number in 0..3 {
        let asking = http::Request::builder()
            .uri(format!("https://{SHOP}/{number}"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(body(""))
            .unwrap();
        let answer = client::whole(client.send_request(asking).await.unwrap()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        for line in [
            &format!("GET /{number}"),
            "host: shop.apps.localhost",
            "x-forwarded-proto: https",
            "cookie: a=1; b=2",
        ] {
            assert!(answer.text.lines().any(|found| found == line), "{line} in {}", answer.text);
        }
    }
    assert_eq!(unit.connections(), 1, "requests share a connection to the unit");
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let rig = Rig::start().await;
    let unit = mirror().await;
    rig.serve(&[unit.address]).await;
    let asking =
        "GET http://shop.apps.localhost/x HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    let answer = bare(rig.router.http, asking).await;
    assert!(
        answer.contains("GET /x\n") && answer.contains("host: shop.apps.localhost"),
        "{answer}"
    );
    assert!(!answer.contains("other"), "{answer}");
}

#[tokio::test]
async fn ambiguous_and_tunnel_requests_reach_no_unit() {
    let rig = Rig::start().await;
    let unit = mirror().await;
    rig.serve(&[unit.address]).await;
    for (asking, status) in [
        ("GET / HTTP/1.1\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: shop.apps.localhost\r\nHost: shop.apps.localhost\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x@shop.apps.localhost\r\n", "400"),
        ("CONNECT shop.apps.localhost:80 HTTP/1.1\r\nHost: shop.apps.localhost\r\n", "405"),
        ("TRACE / HTTP/1.1\r\nHost: shop.apps.localhost\r\n", "405"),
        (
            "POST / HTTP/1.1\r\nHost: shop.apps.localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            "400",
        ),
        ("POST / HTTP/1.1\r\nHost: shop.apps.localhost\r\nTransfer-Encoding: xchunked\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: shop.apps.localhost\r\nBad Name: 1\r\n", "400"),
    ] {
        let answer = bare(rig.router.http, &format!("{asking}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{asking} got {answer}");
    }
    assert_eq!(unit.connections(), 0);
}

#[tokio::test]
async fn a_request_smuggled_behind_two_lengths_does_not_reach_a_unit() {
    let rig = Rig::start().await;
    let unit = mirror().await;
    rig.serve(&[unit.address]).await;
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        let asking = format!(
            "POST /front HTTP/1.1\r\nHost: shop.apps.localhost\r\n{lengths}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop.apps.localhost\r\n\r\n"
        );
        let answer = bare(rig.router.http, &asking).await;
        assert!(!answer.contains("GET /smuggled"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let rig = Rig::with(|config| config.limits.head_bytes = 8 * 1024).await;
    let long = "x".repeat(20_000);
    let asking =
        format!("GET / HTTP/1.1\r\nHost: {SHOP}\r\nX-Long: {long}\r\nConnection: close\r\n\r\n");
    let mut stream = tokio::net::TcpStream::connect(rig.router.http).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    // The router may close before it has read all of it.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut writing, asking.as_bytes()).await;
    let mut status = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut reading, &mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
}
