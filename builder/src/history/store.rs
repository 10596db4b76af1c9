//! The registry of this node as a place for a few files: OCI over plain HTTP, on loopback.

use std::{io, path::Path};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{fs::File, io::AsyncWriteExt};
use tokio_util::io::ReaderStream;

/// A larger manifest is no history of ours.
const MAX_MANIFEST: usize = 1 << 20;

/// Why the registry did not serve.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, or broke off.
    #[error("reach the registry")]
    Line(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refused.
    #[error("have the registry {what}: it answered {status}: {said}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        status: StatusCode,
        /// Its words.
        said: String,
    },
    /// A file of ours failed.
    #[error("use a file")]
    File(#[from] io::Error),
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    client: Client<HttpConnector, BoxBody<Bytes, io::Error>>,
    address: String,
}

impl Store {
    /// The one at `address`.
    pub fn new(address: &str) -> Store {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Store { client, address: address.to_owned() }
    }

    /// Stores a file as a blob, whose digest the caller knows.
    pub async fn put_blob(
        &self,
        repository: &str,
        digest: &str,
        file: &Path,
    ) -> Result<(), StoreError> {
        let file = File::open(file).await?;
        let body = BodyExt::boxed(StreamBody::new(ReaderStream::new(file).map_ok(Frame::data)));
        let path = format!("{repository}/blobs/uploads/?digest={digest}");
        let request = self.request(Method::POST, &path).body(body);
        self.ask("take a pack", request, StatusCode::CREATED).await.map(drop)
    }

    /// Stores a manifest; when this returns it is on a second node, too, if there is one.
    pub async fn put_manifest(
        &self,
        repository: &str,
        digest: &str,
        media_type: &str,
        content: Vec<u8>,
    ) -> Result<(), StoreError> {
        let path = format!("{repository}/manifests/{digest}");
        let request = self.request(Method::PUT, &path).header("content-type", media_type);
        let body = Full::new(content.into()).map_err(|never| match never {}).boxed();
        self.ask("take a history", request.body(body), StatusCode::CREATED).await.map(drop)
    }

    /// Reads a manifest.
    pub async fn manifest(&self, repository: &str, digest: &str) -> Result<Bytes, StoreError> {
        let path = format!("{repository}/manifests/{digest}");
        let answer = self.get("give a history", &path).await?;
        let limited = http_body_util::Limited::new(answer.into_body(), MAX_MANIFEST);
        let collected = limited.collect().await.map_err(StoreError::Line)?;
        Ok(collected.to_bytes())
    }

    /// Reads a blob into a file. The registry has verified it.
    pub async fn blob(
        &self,
        repository: &str,
        digest: &str,
        file: &Path,
    ) -> Result<(), StoreError> {
        let path = format!("{repository}/blobs/{digest}");
        let mut body = self.get("give a pack", &path).await?.into_body();
        let mut file = File::create(file).await?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| StoreError::Line(error.into()))?;
            if let Ok(data) = frame.into_data() {
                file.write_all(&data).await?;
            }
        }
        Ok(file.flush().await?)
    }

    async fn get(&self, what: &'static str, path: &str) -> Result<Response<Incoming>, StoreError> {
        let body = Full::default().map_err(|never| match never {}).boxed();
        self.ask(what, self.request(Method::GET, path).body(body), StatusCode::OK).await
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}/v2/{path}", self.address))
    }

    async fn ask(
        &self,
        what: &'static str,
        request: http::Result<Request<BoxBody<Bytes, io::Error>>>,
        wanted: StatusCode,
    ) -> Result<Response<Incoming>, StoreError> {
        let request = request.map_err(|error| StoreError::Line(error.into()))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| StoreError::Line(error.into()))?;
        let status = answer.status();
        if status == wanted {
            return Ok(answer);
        }
        let limited = http_body_util::Limited::new(answer.into_body(), MAX_MANIFEST);
        let said = limited.collect().await.map(|said| said.to_bytes()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        Err(StoreError::Refused { what, status, said })
    }
}
