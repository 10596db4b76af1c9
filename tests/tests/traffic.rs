//! What reaches an app: under which names, with which certificates, for how long, and over websockets.

#![expect(clippy::unwrap_used, reason = "a story ends where something fails that should not")]

use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tests::{Cluster, Person, Repository, run, step, until};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

const SERVER: &str = include_str!("../fixtures/traffic.py");

#[test]
fn traffic_reaches_an_app_by_name_and_for_as_long_as_it_takes() {
    // Whatever takes longer here than a request's head may, is not cut off for it.
    let cluster = Cluster::up_with("route", 22600, &[("TRIREME_ROUTER_CLIENT_TIMEOUT", "2s")]);
    let olga = Person::registered(&cluster, "olga");
    let files = [("Procfile", "web: python3 server.py\n"), ("server.py", SERVER)];
    let app = Repository::deployed(&olga, "app", &files);
    let host = format!("app.{}", cluster.domain());
    websockets(&cluster, &host);
    std::thread::scope(|scope| {
        step("a long request and a slow upload end well, while other things go on");
        let long = scope.spawn(|| cluster.get(&host, "/after/15"));
        let slow = scope.spawn(|| upload(&cluster, &host));
        names(&cluster, &olga, &app);
        certificates(&cluster, &olga, &app, &host);
        assert_eq!(long.join().unwrap(), (200, format!("{host}:{}", cluster.http_port())));
        assert_eq!(slow.join().unwrap(), (200, "600000".to_owned()));
    });
}

/// Sends 600,000 bytes within some six seconds.
fn upload(cluster: &Cluster, host: &str) -> (u16, String) {
    let body = cluster.scratch().join("upload");
    std::fs::write(&body, vec![b'x'; 600_000]).unwrap();
    let body = format!("@{}", body.display());
    let address = format!("http://{host}:{}/", cluster.http_port());
    cluster.curl(&["--limit-rate", "100k", "--data-binary", &body, &address])
}

fn websockets(cluster: &Cluster, host: &str) {
    step("a websocket speaks both ways, in the clear and over TLS, large and after a silence");
    service::install_crypto();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for scheme in ["ws", "wss"] {
            let mut socket = open(cluster, scheme, host).await;
            for message in [Message::text("ahoy ☃"), Message::binary(vec![7; 200_000])] {
                socket.send(message.clone()).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap(), message);
            }
            // Longer than a client without a request may stay.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            socket.send(Message::text("still there")).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still there"));
            socket.close(None).await.unwrap();
            assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))), "it says goodbye");
        }
    });
}

async fn open(
    cluster: &Cluster,
    scheme: &str,
    host: &str,
) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let port = if scheme == "ws" { cluster.http_port() } else { cluster.https_port() };
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(cluster.ca_file()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = match scheme {
        "ws" => Connector::Plain,
        _ => Connector::Rustls(Arc::new(tls)),
    };
    let address = format!("{scheme}://{host}:{port}/");
    let opened = client_async_tls_with_config(address, stream, None, Some(connector)).await;
    opened.unwrap().0
}

fn names(cluster: &Cluster, olga: &Person<'_>, app: &Repository) {
    let paas = |arguments: &[&str]| app.paasctl(olga, arguments);
    step("a name of one's own, and all names below another");
    paas(&["domains:add", "www.example.test"]).ok();
    paas(&["domains:add", "*.shops.example.test"]).ok();
    until("the domain answers", || (cluster.get("www.example.test", "/").0 == 200).then_some(()));
    assert_eq!(cluster.get("one.shops.example.test", "/").0, 200);
    for other in ["other.example.test", "shops.example.test", "a.b.shops.example.test"] {
        assert_eq!(cluster.get(other, "/").0, 404, "{other}");
    }
    paas(&["domains:add", "nonsense"]).fails_with("nonsense");
    olga.does(&["apps:create", "other", "--no-remote"]).ok();
    let taken = olga.does(&["domains:add", "-a", "other", "www.example.test"]);
    taken.fails_with("www.example.test");
}

fn certificates(cluster: &Cluster, olga: &Person<'_>, app: &Repository, host: &str) {
    step("each name is answered with its own certificate");
    let paas = |arguments: &[&str]| app.paasctl(olga, arguments);
    let (chain, key) = self_signed(cluster.scratch(), "www.example.test");
    let (_, other_key) = self_signed(cluster.scratch(), "other.example.test");
    let platform = cluster.ca_file().display().to_string();
    let trusting = |authority: &str, host: &str| {
        let url = format!("https://{host}:{}/", cluster.https_port());
        cluster.curl(&["--cacert", authority, &url]).0
    };
    paas(&["certs:add", "www", &chain, &other_key]).fails_with("does not belong");
    paas(&["certs:add", "www", &key, &chain]).fails_with("no certificate");
    assert_eq!(trusting(&chain, "www.example.test"), 0);
    paas(&["certs:add", "www", &chain, &key]).ok();
    until("the certificate is served", || {
        (trusting(&chain, "www.example.test") == 200).then_some(())
    });
    assert_eq!(trusting(&platform, host), 200);
    assert_eq!(trusting(&chain, host), 0, "the app's own certificate is for its own name");
    paas(&["certs:remove", "www"]).ok();
    until("the certificate is gone", || (trusting(&chain, "www.example.test") == 0).then_some(()));
    paas(&["domains:remove", "www.example.test"]).ok();
    until("the domain is gone", || (cluster.get("www.example.test", "/").0 == 404).then_some(()));
    assert_eq!(cluster.get("one.shops.example.test", "/").0, 200);
}

/// A self-signed certificate and its key, as files.
fn self_signed(folder: &Path, host: &str) -> (String, String) {
    let chain = folder.join(format!("{host}.pem")).display().to_string();
    let key = folder.join(format!("{host}.key")).display().to_string();
    let subject = format!("/CN={host}");
    let names = format!("subjectAltName=DNS:{host}");
    let mut openssl = std::process::Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject]);
    run(openssl.args(["-addext", &names, "-out", &chain, "-keyout", &key])).ok();
    (chain, key)
}
