//! A real client over real TLS: websockets pass, and nothing outlives a stop.

use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt, stream};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use service::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite;

use super::*;

struct Rig {
    address: SocketAddr,
    connector: TlsConnector,
    stop: Stop,
    ended: tokio::task::JoinHandle<()>,
}

async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) = socket.recv().await
        {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

/// Says hello and then nothing for ever.
async fn endless() -> Body {
    let hello = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"hello")) });
    Body::from_stream(hello.chain(stream::pending()))
}

impl Rig {
    async fn start() -> Rig {
        service::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca")).unwrap();
        let names = ["localhost".to_owned()];
        let issued = authority.issue_server(&names, &[], 1).unwrap();
        issued.write(&folder.path().join("api"), authority.ca_pem()).unwrap();
        let config = server_config(&folder.path().join("api")).unwrap();
        let router = Router::new().route("/echo", get(echo)).route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), Stop::new());
        let ended = tokio::spawn(serve(listener, config, router, stop.clone()));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Rig { address, connector: TlsConnector::from(Arc::new(client)), stop, ended }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.connector.connect(name, tcp).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_text_and_bytes() {
    let rig = Rig::start().await;
    let (mut socket, _) =
        tokio_tungstenite::client_async("ws://localhost/echo", rig.connect().await).await.unwrap();
    for message in
        [tungstenite::Message::text("häl\nlo"), tungstenite::Message::binary(vec![0, 255])]
    {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    rig.stop.set();
    tokio::time::timeout(DRAIN * 4, rig.ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_that_have_no_end_and_clients_that_say_nothing() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 4096];
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello\r\n") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0);
        answer.extend_from_slice(&buffer[..count]);
    }
    let _silent = TcpStream::connect(rig.address).await.unwrap();
    rig.stop.set();
    tokio::time::timeout(DRAIN * 4, rig.ended).await.unwrap().unwrap();
    // The server let go: an end or a reset, not silence.
    let rest = tokio::time::timeout(DRAIN, stream.read(&mut buffer)).await.unwrap();
    assert!(rest.is_err() || rest.is_ok_and(|count| count == 0));
}
