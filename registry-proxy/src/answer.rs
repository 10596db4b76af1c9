//! From what is asked to the answer: each operation is one short function.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE},
    request::Parts,
};
use hyper::body::Incoming;
use serde_json::json;
use service::{Counter, Metrics};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    body::{self, AnswerBody, Held},
    manifest,
    name::{Digest, Reference, Repository, UploadId},
    range::{self, Wanted},
    refusal::Refusal,
    registry::Registry,
    request::{self, Operation},
};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const BINARY: &str = "application/octet-stream";
/// How long a request waits for an earlier one that still writes to the same upload.
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Response<AnswerBody>;
type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Answers requests. A cheap handle.
#[derive(Clone)]
pub struct Answers {
    registry: Arc<Registry>,
    requests: Counter,
    refused: Counter,
    received: Counter,
    sent: Counter,
}

impl Answers {
    /// Answers from this registry.
    pub fn new(registry: Arc<Registry>, metrics: &Metrics) -> Answers {
        Answers {
            registry,
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
                self.with_gate(move |registry| registry.delete_manifest(&repository, &reference))
                    .await?;
                Ok(status(StatusCode::ACCEPTED))
            }
            Operation::GetBlob(digest) if is_head => self.blob_head(digest).await,
            Operation::GetBlob(digest) => self.blob(digest, &head.headers).await,
            Operation::StartUpload { repository, mount, digest } => {
                self.start_upload(repository, mount, digest, body).await
            }
            Operation::UploadStatus(repository, id) => {
                let held = self.hold(&repository, &id).await?;
                progress(StatusCode::NO_CONTENT, &repository, &id, &held)
            }
            Operation::AppendUpload(repository, id) => {
                self.append(repository, id, &head.headers, body).await
            }
            Operation::FinishUpload(repository, id, digest) => {
                self.finish(repository, id, digest, &head.headers, body).await
            }
            Operation::CancelUpload(repository, id) => {
                self.registry.uploads.find(&repository, &id)?;
                self.blocking(move |registry| {
                    registry.uploads.forget(&id);
                    Ok(())
                })
                .await?;
                Ok(status(StatusCode::NO_CONTENT))
            }
        }
    }

    async fn tags(
        &self,
        repository: Repository,
        last: Option<String>,
        limit: Option<usize>,
    ) -> Result<Answer> {
        let name = repository.clone();
        let mut tags =
            self.blocking(move |registry| registry.tags(&repository, last.as_deref())).await?;
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
        let found =
            self.with_gate(move |registry| registry.manifest(&repository, &reference)).await?;
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

    async fn put_manifest(
        &self,
        repository: Repository,
        reference: Reference,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Answer> {
        let bytes = body::collect(body, manifest::MAX_BYTES).await?;
        let content_type = text(headers, CONTENT_TYPE).map(str::to_owned);
        let name = repository.clone();
        let put = move |registry: &Registry| {
            registry.put_manifest(&repository, &reference, content_type.as_deref(), &bytes)
        };
        let digest = self.with_gate(put).await?;
        tracing::info!(repository = name.as_str(), digest = digest.as_str(), "manifest stored");
        let mut answer = status(StatusCode::CREATED);
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
        let asked = digest.clone();
        let (file, size) = self
            .blocking(move |registry| {
                registry.blobs.read(&asked)?.ok_or_else(Refusal::blob_unknown)
            })
            .await?;
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

    async fn start_upload(
        &self,
        repository: Repository,
        mount: Option<Digest>,
        digest: Option<Digest>,
        body: &mut Incoming,
    ) -> Result<Answer> {
        if let Some(mount) = mount
            && self.blob_size(mount.clone()).await?.is_some()
        {
            return Ok(created(&repository, &mount));
        }
        let into = repository.clone();
        let id = self.blocking(move |registry| registry.uploads.start(into)).await?;
        let Some(digest) = digest else {
            let held = self.hold(&repository, &id).await?;
            return progress(StatusCode::ACCEPTED, &repository, &id, &held);
        };
        // Nobody else knows the name: this request's end is the upload's end, whatever happens.
        let held = self.hold(&repository, &id).await;
        self.registry.uploads.forget(&id);
        self.store(held?, body, digest.clone()).await?;
        Ok(created(&repository, &digest))
    }

    async fn append(
        &self,
        repository: Repository,
        id: UploadId,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Answer> {
        let held = self.hold(&repository, &id).await?;
        if !continues(headers, &held)? {
            return out_of_order(&repository, &id, &held);
        }
        let held = self.receive(body, held, &id).await?;
        // Counts as use: the hour begins when the chunk is here.
        self.registry.uploads.find(&repository, &id)?;
        progress(StatusCode::ACCEPTED, &repository, &id, &held)
    }

    async fn finish(
        &self,
        repository: Repository,
        id: UploadId,
        digest: Digest,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Answer> {
        let held = self.hold(&repository, &id).await?;
        if !continues(headers, &held)? {
            return out_of_order(&repository, &id, &held);
        }
        let held = self.receive(body, held, &id).await?;
        self.registry.uploads.forget(&id);
        self.adopt(held, digest.clone()).await?;
        Ok(created(&repository, &digest))
    }

    async fn store(&self, held: Held, body: &mut Incoming, digest: Digest) -> Result<()> {
        let held = body::receive(body, held, &self.received).await?;
        self.adopt(held, digest).await
    }

    /// Receives a body into an upload that others may continue; it is forgotten if its content is spoilt.
    async fn receive(&self, body: &mut Incoming, held: Held, id: &UploadId) -> Result<Held> {
        let received = body::receive(body, held, &self.received).await;
        if let Err(refusal) = &received
            && refusal.status.is_server_error()
        {
            self.registry.uploads.forget(id);
        }
        received
    }

    async fn adopt(&self, mut held: Held, digest: Digest) -> Result<()> {
        self.with_gate(move |registry| {
            let partial = held.take().ok_or_else(Refusal::upload_unknown)?;
            partial.finish(&digest, &registry.blobs)
        })
        .await
    }

    async fn hold(&self, repository: &Repository, id: &UploadId) -> Result<Held> {
        let slot = self.registry.uploads.find(repository, id)?;
        let busy = |_| Refusal::upload_invalid("another request still writes to this upload");
        let held = timeout(HOLD_TIMEOUT, slot.lock_owned()).await.map_err(busy)?;
        if held.is_some() { Ok(held) } else { Err(Refusal::upload_unknown()) }
    }

    async fn blob_size(&self, digest: Digest) -> Result<Option<u64>> {
        self.with_gate(move |registry| Ok(registry.blobs.touch(&digest)?)).await
    }

    /// Work on whose result a client relies: no retention runs beside it, not even if the client goes away.
    async fn with_gate<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let pass = self.registry.gate.clone().read_owned().await;
        self.blocking(move |registry| {
            let done = work(registry);
            drop(pass);
            done
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let registry = self.registry.clone();
        spawn_blocking(move || work(&registry)).await.map_err(|_| Refusal::internal())?
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

/// Whether a chunk starts where the upload ends and is as long as it says. Without a `Content-Range` it is the next.
fn continues(headers: &HeaderMap, held: &Held) -> Result<bool> {
    let Some(header) = text(headers, CONTENT_RANGE) else { return Ok(true) };
    let chunk = range::chunk(header)
        .ok_or_else(|| Refusal::upload_invalid("a Content-Range looks like `0-99`"))?;
    let length = text(headers, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length != chunk.length) {
        return Err(Refusal::size_invalid("Content-Range and Content-Length differ"));
    }
    Ok(chunk.first == size(held))
}

fn size(held: &Held) -> u64 {
    held.as_ref().map_or(0, |partial| partial.size())
}

fn progress(
    code: StatusCode,
    repository: &Repository,
    id: &UploadId,
    held: &Held,
) -> Result<Answer> {
    let mut answer = status(code);
    upload_headers(&mut answer, repository, id, held);
    Ok(answer)
}

/// The specification wants the place to continue from beside the error.
fn out_of_order(repository: &Repository, id: &UploadId, held: &Held) -> Result<Answer> {
    let refusal = Refusal::out_of_order();
    let mut answer = Response::new(body::full(refusal.json()));
    *answer.status_mut() = refusal.status;
    set(&mut answer, CONTENT_TYPE, "application/json");
    upload_headers(&mut answer, repository, id, held);
    Ok(answer)
}

fn upload_headers(answer: &mut Answer, repository: &Repository, id: &UploadId, held: &Held) {
    let id = id.as_str();
    set(answer, LOCATION, &format!("/v2/{repository}/blobs/uploads/{id}"));
    set(answer, RANGE, &range::received(size(held)));
    set(answer, UPLOAD_UUID, id);
}

fn created(repository: &Repository, digest: &Digest) -> Answer {
    let mut answer = status(StatusCode::CREATED);
    set(&mut answer, LOCATION, &format!("/v2/{repository}/blobs/{digest}"));
    set(&mut answer, CONTENT_DIGEST, digest.as_str());
    answer
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
}
