//! A stand-in for the controller: answers what it was told to, in order, and remembers what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One answer. Several for the same request are given in turn, the last one from then on.
#[derive(Clone)]
pub struct Answer {
    request: String,
    status: u16,
    body: String,
    is_stream: bool,
    is_broken: bool,
}

impl Answer {
    pub fn json(request: &str, status: u16, body: &str) -> Answer {
        let (request, body) = (request.to_owned(), body.to_owned());
        Answer { request, status, body, is_stream: false, is_broken: false }
    }

    pub fn events(request: &str, events: &[&str]) -> Answer {
        let body = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        Answer { request: request.to_owned(), status: 200, body, is_stream: true, is_broken: false }
    }

    /// Events, and then the connection is lost.
    pub fn broken(request: &str, events: &[&str]) -> Answer {
        Answer { is_broken: true, ..Answer::events(request, events) }
    }
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Vec<Answer>>,
    asked: Vec<String>,
}

/// The server; it ends with this value.
pub struct Fake {
    pub url: String,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

impl Fake {
    pub fn start(answers: &[Answer]) -> Fake {
        Fake::serve(answers, None)
    }

    /// The same over TLS, and the authority that signed its certificate.
    pub fn start_with_tls(answers: &[Answer]) -> (Fake, String) {
        let mut of_ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        of_ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        of_ca.distinguished_name.push(rcgen::DnType::CommonName, "Test cluster CA");
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca_pem = of_ca.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(of_ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["deis.apps.localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        (Fake::serve(answers, Some(TlsAcceptor::from(Arc::new(config)))), ca_pem)
    }

    fn serve(answers: &[Answer], tls: Option<TlsAcceptor>) -> Fake {
        let mut state = State::default();
        for answer in answers.iter().rev() {
            state.answers.entry(answer.request.clone()).or_default().push(answer.clone());
        }
        let state = Arc::new(Mutex::new(state));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            Some(_) => format!("https://deis.apps.localhost:{port}"),
            None => format!("http://deis.apps.localhost:{port}"),
        };
        runtime.spawn(accept(listener, tls, Arc::clone(&state)));
        Fake { url, state, _runtime: runtime }
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<String> {
        self.questions()()
    }

    /// The same for later, also after the server's end.
    pub fn questions(&self) -> Box<dyn Fn() -> Vec<String>> {
        let state = Arc::clone(&self.state);
        Box::new(move || std::mem::take(&mut state.lock().unwrap().asked))
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match tls {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(TokioIo::new(stream), state).await;
                    }
                }
                None => converse(TokioIo::new(stream), state).await,
            }
        });
    }
}

async fn converse<S>(stream: S, state: Arc<Mutex<State>>)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(stream, service)
        .with_upgrades()
        .await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, Infallible> {
    let name = format!("{} {}", request.method(), request.uri());
    if request.headers().contains_key(header::UPGRADE) && !name.contains("secret") {
        return Ok(upgrade(request, state));
    }
    let has_token = has_token(request.headers());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    let mut state = state.lock().unwrap();
    let nobody = if has_token { "" } else { "(no token) " };
    state.asked.push(format!("{nobody}{name} {text}").trim_end().to_owned());
    let missing =
        Answer::json("", 404, r#"{"code":"not-found","message":"there is no such thing"}"#);
    let answer = match state.answers.get_mut(&name) {
        Some(answers) if answers.len() > 1 => answers.pop().unwrap(),
        Some(answers) => answers[0].clone(),
        None => missing,
    };
    Ok(response(answer))
}

fn has_token(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer tok-1")
}

fn response(answer: Answer) -> Response<Body> {
    let kind = if answer.is_stream { "text/event-stream" } else { "application/json" };
    let bytes = Bytes::from(answer.body);
    let body = if answer.is_broken {
        let pieces = [Ok(Frame::data(bytes)), Err(std::io::Error::other("lost"))];
        // A pause, so that what was sent before is not lost with the connection.
        let pieces = futures_util::stream::iter(pieces).then(|piece| async {
            if piece.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            piece
        });
        StreamBody::new(pieces).boxed_unsync()
    } else {
        Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
    };
    Response::builder().status(answer.status).header(header::CONTENT_TYPE, kind).body(body).unwrap()
}

fn upgrade(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Response<Body> {
    let key = request.headers()[header::SEC_WEBSOCKET_KEY].clone();
    state.lock().unwrap().asked.push(format!("{} {}", request.method(), request.uri()));
    tokio::spawn(async move {
        let upgraded = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
        let _ = run(socket, state).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .body(Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync())
        .unwrap()
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Plays the command that is asked for.
async fn run(mut socket: Socket, state: Arc<Mutex<State>>) -> Option<()> {
    let first = socket.next().await?.ok()?.into_text().ok()?;
    state.lock().unwrap().asked.push(first.to_string());
    let request: proto::api::RunRequest = serde_json::from_str(&first).ok()?;
    let end = match request.command[0].as_str() {
        "cat" => {
            while let Message::Binary(bytes) = next(&mut socket).await? {
                socket.send(output(1, &bytes)).await.ok()?;
            }
            r#"{"end":"exit","code":0}"#
        }
        "false" => {
            socket.send(output(1, b"some output\n")).await.ok()?;
            socket.send(output(2, b"no luck\n")).await.ok()?;
            r#"{"end":"exit","code":7}"#
        }
        "keys" => {
            socket.send(output(1, b"ready\r\n")).await.ok()?;
            keys(&mut socket).await?;
            r#"{"end":"exit","code":3}"#
        }
        "dropped" => return None,
        "refused" => {
            r#"{"end":"problem","problem":{"code":"nothing-deployed","message":"nothing is deployed yet","hint":"Push first."}}"#
        }
        _ => r#"{"end":"detached","name":"run.x1"}"#,
    };
    socket.send(Message::text(end)).await.ok()?;
    socket.close(None).await.ok()
}

/// Says each key and each size until `q`.
async fn keys(socket: &mut Socket) -> Option<()> {
    loop {
        match next(socket).await? {
            Message::Binary(bytes) if bytes.as_ref() == b"q" => return Some(()),
            Message::Binary(bytes) => {
                socket
                    .send(output(1, format!("key {:02x?}\r\n", bytes.to_vec()).as_bytes()))
                    .await
                    .ok()?;
            }
            message => {
                let text = format!("control {}\r\n", message.into_text().ok()?);
                socket.send(output(1, text.as_bytes())).await.ok()?;
            }
        }
    }
}

/// The next message that is about the command.
async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match socket.next().await?.ok()? {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return Some(message),
        }
    }
}

fn output(channel: u8, bytes: &[u8]) -> Message {
    Message::binary([&[channel], bytes].concat())
}
