//! From what is asked to the answer: each operation is one short function.

mod upload;

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE, WARNING,
    },
    request::Parts,
};
use hyper::body::Incoming;
use serde_json::json;
use service::{Counter, Metrics};

use crate::{
    body::{self, AnswerBody},
    fetch::Fetcher,
    manifest,
    name::{Digest, Reference, Repository},
    range::{self, Wanted},
    refusal::Refusal,
    registry::{Found, Registry},
    request::{self, Operation},
    second::{self, Safe, Second},
};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// In the form the specification gives warnings.
const ALONE: &str = "299 - \"kept on one node only: the other node does not answer\"";
const BINARY: &str = "application/octet-stream";

type Answer = Response<AnswerBody>;
type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Answers requests. A cheap handle.
#[derive(Clone)]
pub struct Answers {
    registry: Arc<Registry>,
    fetcher: Fetcher,
    second: Second,
    requests: Counter,
    refused: Counter,
    received: Counter,
    sent: Counter,
}

impl Answers {
    /// Answers from this registry.
    pub fn new(
        registry: Arc<Registry>,
        fetcher: Fetcher,
        second: Second,
        metrics: &Metrics,
    ) -> Answers {
        Answers {
            registry,
            fetcher,
            second,
            requests: metrics.counter("registry_requests_total", "Requests answered."),
            refused: metrics.counter("registry_refused_total", "Requests answered with an error."),
            received: metrics.counter("registry_received_bytes_total", "Blob bytes received."),
            sent: metrics.counter("registry_sent_bytes_total", "Blob bytes sent."),
        }
    }

    /// One request to one answer; an error becomes its JSON.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.requests.add(1);
        let (head, mut body) = request.into_parts();
        let answered = self.try_answer(&head, &mut body).await;
        body::discard(&mut body).await;
        let mut answer = answered.unwrap_or_else(|refusal| {
            self.refused.add(1);
            tracing::debug!(code = refusal.code, message = refusal.message, "refused");
            let mut answer = Response::new(body::full(refusal.json()));
            *answer.status_mut() = refusal.status;
            set(&mut answer, CONTENT_TYPE, "application/json");
            answer
        });
        set(&mut answer, API_VERSION, "registry/2.0");
        answer
    }

    async fn try_answer(&self, head: &Parts, body: &mut Incoming) -> Result<Answer> {
        if !is_local(&head.headers) {
            return Err(Refusal::misdirected());
        }
        let operation =
            request::parse(&head.method, head.uri.path(), head.uri.query().unwrap_or_default())?;
        let is_head = head.method == Method::HEAD;
        match operation {
            Operation::Ping => Ok(json_answer(&json!({}))),
            Operation::ListTags { repository, last, limit } => {
                self.tags(repository, last, limit).await
            }
            Operation::GetManifest(repository, reference) => {
                self.manifest(repository, reference, is_head).await
            }
            Operation::PutManifest(repository, reference) => {
                self.put_manifest(repository, reference, &head.headers, body).await
            }
            Operation::DeleteManifest(repository, reference) => {
                self.registry
                    .with_gate(move |registry| registry.delete_manifest(&repository, &reference))
                    .await?;
                Ok(status(StatusCode::ACCEPTED))
            }
            Operation::GetBlob(digest) if is_head => self.blob_head(digest).await,
            Operation::GetBlob(digest) => self.blob(digest, &head.headers).await,
            Operation::StartUpload { repository, mount, digest } => {
                self.start_upload(repository, mount, digest, body).await
            }
            Operation::UploadStatus(repository, id) => self.upload_status(repository, id).await,
            Operation::AppendUpload(repository, id) => {
                self.append(repository, id, &head.headers, body).await
            }
            Operation::FinishUpload(repository, id, digest) => {
                self.finish(repository, id, digest, &head.headers, body).await
            }
            Operation::CancelUpload(repository, id) => self.cancel(repository, id).await,
        }
    }

    async fn tags(
        &self,
        repository: Repository,
        last: Option<String>,
        limit: Option<usize>,
    ) -> Result<Answer> {
        let name = repository.clone();
        let mut tags = self
            .registry
            .blocking(move |registry| registry.tags(&repository, last.as_deref()))
            .await?;
        let all = tags.len();
        tags.truncate(limit.unwrap_or(usize::MAX));
        let names: Vec<_> = tags.iter().map(|tag| tag.as_str()).collect();
        let mut answer = json_answer(&json!({ "name": name.as_str(), "tags": names }));
        if let (Some(limit), Some(last), true) = (limit, names.last(), names.len() < all) {
            let next = format!("</v2/{name}/tags/list?n={limit}&last={last}>; rel=\"next\"");
            set(&mut answer, LINK, &next);
        }
        Ok(answer)
    }

    async fn manifest(
        &self,
        repository: Repository,
        reference: Reference,
        is_head: bool,
    ) -> Result<Answer> {
        let found = match self.find(&repository, &reference).await {
            Err(refusal) if refusal.is_unknown() => {
                self.fetcher
                    .image(&repository, &reference)
                    .await
                    .map_err(|fetch| if fetch.is_unknown() { refusal } else { fetch })?;
                self.find(&repository, &reference).await?
            }
            found => found?,
        };
        let body = match is_head {
            true => body::empty(),
            false => body::file(found.file, 0, found.size, self.sent.clone())?,
        };
        let mut answer = Response::new(body);
        set(&mut answer, CONTENT_TYPE, &found.media_type);
        set(&mut answer, CONTENT_LENGTH, &found.size.to_string());
        set(&mut answer, CONTENT_DIGEST, found.digest.as_str());
        Ok(answer)
    }

    async fn find(&self, repository: &Repository, reference: &Reference) -> Result<Found> {
        let (repository, reference) = (repository.clone(), reference.clone());
        // Who asks for existence relies on the answer.
        self.registry.with_gate(move |registry| registry.manifest(&repository, &reference)).await
    }

    /// Stores a manifest; it counts when a second node has it, too.
    async fn put_manifest(
        &self,
        repository: Repository,
        reference: Reference,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Answer> {
        let bytes = body::collect(body, manifest::MAX_BYTES).await?;
        let content_type = text(headers, CONTENT_TYPE).map(str::to_owned);
        let (name, tag) = (repository.clone(), second::tag(&reference).cloned());
        let put = move |registry: &Registry| {
            registry.put_manifest(&repository, &reference, content_type.as_deref(), &bytes)
        };
        let digest = self.registry.with_gate(put).await?;
        let safe = self.second.require(&name, &digest, tag.as_ref()).await?;
        tracing::info!(
            repository = name.as_str(),
            digest = digest.as_str(),
            ?safe,
            "manifest stored"
        );
        let mut answer = status(StatusCode::CREATED);
        if safe == (Safe::Alone { is_lacking: true }) {
            set(&mut answer, WARNING, ALONE);
        }
        set(&mut answer, LOCATION, &format!("/v2/{name}/manifests/{digest}"));
        set(&mut answer, CONTENT_DIGEST, digest.as_str());
        Ok(answer)
    }

    async fn blob_head(&self, digest: Digest) -> Result<Answer> {
        let size = self.blob_size(digest.clone()).await?.ok_or_else(Refusal::blob_unknown)?;
        let mut answer = status(StatusCode::OK);
        set(&mut answer, CONTENT_LENGTH, &size.to_string());
        blob_headers(&mut answer, &digest);
        Ok(answer)
    }

    async fn blob(&self, digest: Digest, headers: &HeaderMap) -> Result<Answer> {
        let (file, size) = match self.read(&digest).await {
            Err(refusal) if refusal.is_unknown() => {
                self.fetcher.blob(&digest).await?;
                self.read(&digest).await?
            }
            read => read?,
        };
        let (code, first, length) = match range::wanted(text(headers, RANGE), size) {
            Wanted::Whole => (StatusCode::OK, 0, size),
            Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Wanted::Unsatisfiable => {
                let mut answer = status(StatusCode::RANGE_NOT_SATISFIABLE);
                set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
                return Ok(answer);
            }
        };
        let mut answer = Response::new(body::file(file, first, length, self.sent.clone())?);
        *answer.status_mut() = code;
        set(&mut answer, CONTENT_LENGTH, &length.to_string());
        if code == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {first}-{}/{size}", first + length - 1);
            set(&mut answer, CONTENT_RANGE, &range);
        }
        blob_headers(&mut answer, &digest);
        Ok(answer)
    }

    async fn read(&self, digest: &Digest) -> Result<(std::fs::File, u64)> {
        let asked = digest.clone();
        let read = move |registry: &Registry| {
            registry.blobs.read(&asked)?.ok_or_else(Refusal::blob_unknown)
        };
        self.registry.blocking(read).await
    }

    /// Of what is here: who pushes sends what is not, and that is quicker than fetching it from another node.
    async fn blob_size(&self, digest: Digest) -> Result<Option<u64>> {
        self.registry.with_gate(move |registry| Ok(registry.blobs.touch(&digest)?)).await
    }
}

/// A page in a browser can send requests here under a name of its own that resolves to this machine.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, http::header::HOST) else { return true };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || bare == "localhost" || bare.ends_with(".localhost")
}

fn blob_headers(answer: &mut Answer, digest: &Digest) {
    set(answer, CONTENT_TYPE, BINARY);
    set(answer, ACCEPT_RANGES, "bytes");
    set(answer, CONTENT_DIGEST, digest.as_str());
}

fn status(code: StatusCode) -> Answer {
    let mut answer = Response::new(body::empty());
    *answer.status_mut() = code;
    answer
}

fn json_answer(value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(body::full(value.to_string()));
    set(&mut answer, CONTENT_TYPE, "application/json");
    answer
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("built from checked names and numbers");
    answer.headers_mut().insert(name, value);
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machines_own_names_are_answered() {
        let with = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::HOST, host.parse().unwrap());
            is_local(&headers)
        };
        for own in ["127.0.0.1:5000", "127.0.0.1", "localhost:5000", "[::1]:5000", "r.localhost"] {
            assert!(with(own), "{own}");
        }
        for other in ["evil.example:5000", "10.0.0.1:5000", "localhost.evil.example", ""] {
            assert!(!with(other), "{other}");
        }
    }

    #[tokio::test]
    async fn no_retention_runs_beside_an_answer_that_a_client_relies_on() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path(), 0, service::Clock::system()).unwrap();
        let registry = Arc::new(registry);
        let is_free = |registry: &Registry| registry.gate.try_write().is_ok();
        let free_beside = registry.with_gate(move |registry| Ok(is_free(registry)));
        assert_eq!(free_beside.await, Ok(false));
        assert!(is_free(&registry));
    }
}
