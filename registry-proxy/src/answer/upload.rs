//! Answers to pushes of blobs: an upload is started, continued in chunks and finished, or all in one.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE},
};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Answer, Answers, CONTENT_DIGEST, Result, set, status, text};
use crate::{
    body::{self, Held},
    name::{Digest, Repository, UploadId},
    range,
    refusal::Refusal,
};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// How long a request waits for an earlier one that still writes to the same upload.
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);

impl Answers {
    /// A location to upload to; or at once the blob, if it is here or the body is all of it.
    pub(super) async fn start_upload(
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
        let id = self.registry.blocking(move |registry| registry.uploads.start(into)).await?;
        let Some(digest) = digest else {
            let held = self.hold(&repository, &id).await?;
            return Ok(progress(StatusCode::ACCEPTED, &repository, &id, &held));
        };
        // Nobody else knows the name: this request's end is the upload's end, whatever happens.
        let held = self.hold(&repository, &id).await;
        self.registry.uploads.forget(&id);
        let held = self.receive(body, held?, &id).await?;
        self.adopt(held, digest.clone()).await?;
        Ok(created(&repository, &digest))
    }

    /// Adds a chunk.
    pub(super) async fn append(
        &self,
        repository: Repository,
        id: UploadId,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Answer> {
        let held = self.hold(&repository, &id).await?;
        if !continues(headers, &held)? {
            return Ok(out_of_order(&repository, &id, &held));
        }
        let held = self.receive(body, held, &id).await?;
        // Counts as use: the hour begins when the chunk is here.
        self.registry.uploads.find(&repository, &id)?;
        Ok(progress(StatusCode::ACCEPTED, &repository, &id, &held))
    }

    /// Adds the last chunk, which may be empty, and makes the whole a blob.
    pub(super) async fn finish(
        &self,
        repository: Repository,
        id: UploadId,
        digest: Digest,
        headers: &HeaderMap,
        body: &mut Incoming,
    ) -> Result<Answer> {
        let held = self.hold(&repository, &id).await?;
        if !continues(headers, &held)? {
            return Ok(out_of_order(&repository, &id, &held));
        }
        let held = self.receive(body, held, &id).await?;
        self.registry.uploads.forget(&id);
        self.adopt(held, digest.clone()).await?;
        Ok(created(&repository, &digest))
    }

    /// How far it is.
    pub(super) async fn upload_status(
        &self,
        repository: Repository,
        id: UploadId,
    ) -> Result<Answer> {
        let held = self.hold(&repository, &id).await?;
        Ok(progress(StatusCode::NO_CONTENT, &repository, &id, &held))
    }

    /// Forgets it.
    pub(super) async fn cancel(&self, repository: Repository, id: UploadId) -> Result<Answer> {
        self.registry
            .blocking(move |registry| {
                registry.uploads.find(&repository, &id)?;
                registry.uploads.forget(&id);
                Ok(())
            })
            .await?;
        Ok(status(StatusCode::NO_CONTENT))
    }

    /// Receives a body into an upload; the upload is forgotten if its content is spoilt.
    async fn receive(&self, body: &mut Incoming, held: Held, id: &UploadId) -> Result<Held> {
        let received = body::receive(body, held, &self.received).await;
        if let Err(refusal) = &received
            && refusal.status.is_server_error()
        {
            self.registry.uploads.forget(id);
        }
        received
    }

    /// Makes an upload's content a blob. The slow part needs no gate, so that others do not wait for this disk.
    async fn adopt(&self, mut held: Held, digest: Digest) -> Result<()> {
        let sealed = self.registry.blocking(move |_| {
            let partial = held.take().ok_or_else(Refusal::upload_unknown)?;
            partial.seal(digest)
        });
        let sealed = sealed.await?;
        self.registry.with_gate(move |registry| sealed.store(&registry.blobs)).await
    }

    async fn hold(&self, repository: &Repository, id: &UploadId) -> Result<Held> {
        let slot = self.registry.uploads.find(repository, id)?;
        let busy = |_| Refusal::upload_invalid("another request still writes to this upload");
        let held = timeout(HOLD_TIMEOUT, slot.lock_owned()).await.map_err(busy)?;
        if held.is_some() { Ok(held) } else { Err(Refusal::upload_unknown()) }
    }
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

fn progress(code: StatusCode, repository: &Repository, id: &UploadId, held: &Held) -> Answer {
    let mut answer = status(code);
    upload_headers(&mut answer, repository, id, held);
    answer
}

/// The specification wants the place to continue from beside the error.
fn out_of_order(repository: &Repository, id: &UploadId, held: &Held) -> Answer {
    let refusal = Refusal::out_of_order();
    let mut answer = Response::new(body::full(refusal.json()));
    *answer.status_mut() = refusal.status;
    set(&mut answer, CONTENT_TYPE, "application/json");
    upload_headers(&mut answer, repository, id, held);
    answer
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
