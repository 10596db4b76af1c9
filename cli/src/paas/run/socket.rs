//! The websocket of a run: bytes of the command, documents about it.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use proto::api::RunEnd;
use serde::Serialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::printer::Piece;
use crate::paas::client::refusal;
use crate::paas::failure::Failure;
use crate::paas::target::App;

/// First byte of a binary frame with standard output.
const STDOUT: u8 = 1;
/// First byte of a binary frame with standard error.
const STDERR: u8 = 2;

/// A run's connection.
pub struct Socket(WebSocketStream<TokioIo<Upgraded>>);

/// What comes from the other side.
pub enum FromUnit {
    /// Something it wrote.
    Output(Piece),
    /// The last message.
    End(RunEnd),
}

impl Socket {
    /// Opens it; a refusal is said as such.
    pub async fn open(app: &App) -> Result<Socket, Failure> {
        let mut request = app.client.request(Method::GET, &app.path("run"), Bytes::new())?;
        let key = generate_key();
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let value = HeaderValue::try_from(&key)
            .map_err(|error| Failure::local("open a websocket", error))?;
        headers.insert(header::SEC_WEBSOCKET_KEY, value);
        let response = app.client.exchange(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| {
            accepted.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()
        }) {
            return Err(Failure::unreachable(
                "something between here and the controller breaks websockets",
            ));
        }
        let upgraded =
            hyper::upgrade::on(response).await.map_err(|error| lost(&error.to_string()))?;
        let stream =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        Ok(Socket(stream))
    }

    /// Sends a document in a text frame.
    pub async fn send_document<T: Serialize>(&mut self, document: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(document)
            .map_err(|error| Failure::local("write a message", error))?;
        self.send(Message::text(text)).await
    }

    /// Sends standard input.
    pub async fn send_input(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.send(Message::binary(bytes)).await
    }

    /// Shows the other side that we are there.
    pub async fn say_alive(&mut self) -> Result<(), Failure> {
        self.send(Message::Ping(Bytes::new())).await
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<FromUnit, Failure> {
        loop {
            let message = match self.0.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(lost(&error.to_string())),
                None => return Err(lost("it was closed")),
            };
            match message {
                Message::Binary(mut bytes) if !bytes.is_empty() => {
                    let rest = bytes.split_off(1);
                    match bytes[0] {
                        STDOUT => return Ok(FromUnit::Output(Piece::Stdout(rest))),
                        STDERR => return Ok(FromUnit::Output(Piece::Stderr(rest))),
                        // A channel of a later version: nothing we could show.
                        _ => {}
                    }
                }
                Message::Text(text) => {
                    let end = serde_json::from_str(&text);
                    return end
                        .map(FromUnit::End)
                        .map_err(|error| lost(&format!("{error}: {text}")));
                }
                Message::Close(_) => return Err(lost("it was closed")),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// A command that has ended takes no more input; its end is still to be read.
    async fn send(&mut self, message: Message) -> Result<(), Failure> {
        match self.0.send(message).await {
            Ok(())
            | Err(
                Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_),
            ) => Ok(()),
            Err(error) => Err(lost(&error.to_string())),
        }
    }
}

fn lost(why: &str) -> Failure {
    Failure::unreachable(format!("the connection to the command broke: {why}"))
        .hint("The command was stopped with it. For long work: paasctl run --detach")
}
