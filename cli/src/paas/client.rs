//! Requests to the controller: JSON in and out, refusals as problems, streams of events.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proto::api;
use proto::problem::{Code, Problem};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::output;

use super::connection::{Address, dial};
use super::failure::Failure;
use super::session::Cluster;
use super::sse;
use super::tls::Trust;

/// The longest an answer's head may take; changes are answered before they are done.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer read; the largest real one is a config of many 64 KiB values.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Where the controller is and who asks.
#[derive(Clone)]
pub struct Place {
    /// `https://host:port`.
    pub url: String,
    /// None: asks as nobody.
    pub token: Option<String>,
    /// Authority beside the system's.
    pub ca_pem: Option<String>,
    /// Base of git remotes, if it is known.
    pub git_remote_base: Option<String>,
}

/// Asks one controller.
pub struct Client {
    place: Place,
    address: Address,
    trust: Trust,
}

impl Place {
    /// An address nobody is logged in at.
    pub fn at(url: &str) -> Place {
        Place { url: url.to_owned(), token: None, ca_pem: None, git_remote_base: None }
    }

    /// A cluster of the session.
    pub fn of(cluster: &Cluster) -> Place {
        Place {
            url: cluster.url.clone(),
            token: cluster.token.clone(),
            ca_pem: cluster.ca_pem.clone(),
            git_remote_base: Some(cluster.git_remote_base.clone()),
        }
    }
}

impl Client {
    /// Nothing is connected yet.
    pub fn new(place: Place) -> Result<Client, Failure> {
        let address = Address::parse(&place.url)?;
        let trust = Trust::new(place.ca_pem.as_deref())?;
        Ok(Client { place, address, trust })
    }

    /// Where this asks.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Facts about the cluster; fails when something else answers there.
    pub async fn info(&self) -> Result<api::Info, Failure> {
        let asked = self.get("/v1/info").await;
        asked.map_err(|failure| match &failure.problem {
            Some(problem) if problem.code == Code::Internal || problem.code == Code::NotFound => {
                Failure::unreachable(format!(
                    "{} does not answer as a Trireme controller",
                    self.address.url()
                ))
                .hint("Is the port right? The API listens on 8000 unless set otherwise.")
            }
            _ => failure,
        })
    }

    /// Reads a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.request(Method::GET, path, Bytes::new())?;
        read(self.exchange(request).await?).await
    }

    /// Deletes what has a name; the answer says nothing.
    pub async fn remove(&self, folder: &str, name: &str) -> Result<(), Failure> {
        self.delete(&format!("{folder}/{}", segment(name))).await.map(|_: IgnoredAny| ())
    }

    /// Sends a document and reads the answer.
    pub async fn send<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let body =
            serde_json::to_vec(body).map_err(|error| Failure::local("write the request", error))?;
        let mut request = self.request(method, path, body.into())?;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        read(self.exchange(request).await?).await
    }

    /// Removes something and reads the answer.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.request(Method::DELETE, path, Bytes::new())?;
        read(self.exchange(request).await?).await
    }

    /// Opens a stream of events.
    pub async fn events(&self, path: &str) -> Result<sse::Events, Failure> {
        let mut request = self.request(Method::GET, path, Bytes::new())?;
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.exchange(request).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        Ok(sse::Events::new(response.into_body()))
    }

    /// A request with the token.
    pub fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.authority())
            .header(header::USER_AGENT, concat!("paasctl/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.place.token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value =
                value.map_err(|_| Failure::usage("the token holds characters no token has"))?;
            value.set_sensitive(true);
            builder = builder.header(header::AUTHORIZATION, value);
        }
        builder.body(Full::new(body)).map_err(|error| Failure::local("write the request", error))
    }

    /// One request over a connection of its own.
    pub async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = dial(&self.address, &self.trust).await?;
        let exchange = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection.with_upgrades());
            sender.send_request(request).await
        };
        let url = self.address.url();
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(broken(&url, &error)),
            Err(_) => Err(Failure::unreachable(format!(
                "the controller at {url} did not answer within 60 s"
            ))
            .hint("The change may still be done: look before you try again.")),
        }
    }
}

/// Makes one segment of a path of any text.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// What a refused request says.
pub async fn refusal(response: Response<Incoming>) -> Failure {
    let status = response.status();
    match body(response).await {
        Ok(body) => match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => strange(status, &body),
        },
        Err(failure) => failure,
    }
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failure> {
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(response).await);
    }
    if response.headers().contains_key(api::STALE_HEADER) {
        output::warning(
            "The cluster has no quorum: this is what one node remembers, and may be old.",
        );
    }
    let body = body(response).await?;
    let document: &[u8] = if body.is_empty() { b"null" } else { &body };
    serde_json::from_slice(document).map_err(|error| {
        let mut failure = strange(status, &body);
        if let Some(problem) = &mut failure.problem {
            problem.details.push(error.to_string());
        }
        failure
    })
}

async fn body(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let limited = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
    let read = limited
        .collect()
        .await
        .map_err(|error| Failure::unreachable(format!("the answer broke off: {error}")))?;
    Ok(read.to_bytes())
}

/// Something between us and the controller answered, or a controller of another age.
fn strange(status: StatusCode, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned();
    let details = if text.is_empty() { Vec::new() } else { vec![text] };
    let code = match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Code::Unavailable
        }
        _ => Code::Internal,
    };
    let problem = Problem::new(code, format!("an answer that was not expected (HTTP {status})"));
    Failure::from(
        problem.details(details).hint("Does `paasctl version` fit the cluster's version?"),
    )
}

fn broken(url: &str, error: &hyper::Error) -> Failure {
    Failure::unreachable(format!("the connection to the controller at {url} broke: {error}"))
        .hint("The change may still be done: look before you try again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(segment("../x?y=1#z"), "..%2Fx%3Fy%3D1%23z");
        assert_eq!(segment("*.shop.example"), "%2A.shop.example");
        assert_eq!(segment("ä b"), "%C3%A4%20b");
    }
}
