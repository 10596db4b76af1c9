//! The registry of this node, as a place images are copied from and to: OCI over plain HTTP, on loopback.

use std::{collections::BTreeMap, io};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tokio::sync::mpsc;

/// The registry takes no larger manifest.
const MAX_MANIFEST: usize = 4 << 20;

/// The registry at an address.
pub struct Registry {
    client: Client<HttpConnector, BoxBody<Bytes, io::Error>>,
    address: String,
}

/// What of a manifest is needed to copy it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// Of an image for several kinds of machines: one for each.
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
}

impl Manifest {
    /// Understands one.
    pub fn parse(content: &[u8]) -> anyhow::Result<Manifest> {
        serde_json::from_slice(content).context("understand a manifest")
    }

    /// Its type.
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or("application/vnd.oci.image.manifest.v1+json")
    }

    /// The blobs it names, each once.
    pub fn blobs(&self) -> Vec<&str> {
        let named = self.config.iter().chain(&self.layers);
        let once: BTreeMap<&str, ()> = named.map(|it| (it.digest.as_str(), ())).collect();
        once.into_keys().collect()
    }

    /// The manifests it names.
    pub fn manifests(&self) -> impl Iterator<Item = &str> {
        self.manifests.iter().map(|it| it.digest.as_str())
    }
}

impl Registry {
    /// The one at `address`.
    pub fn new(address: String) -> Registry {
        Registry { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    /// A manifest; none if no node has it.
    pub async fn manifest(&self, repository: &str, digest: &str) -> anyhow::Result<Option<Bytes>> {
        let path = format!("{repository}/manifests/{digest}");
        let Some(answer) = self.get(&path).await? else { return Ok(None) };
        let body = Limited::new(answer.into_body(), MAX_MANIFEST).collect().await;
        Ok(Some(body.map_err(anyhow::Error::from_boxed).context("read a manifest")?.to_bytes()))
    }

    /// A blob's size and bytes; none if no node has it.
    pub async fn blob(
        &self,
        repository: &str,
        digest: &str,
    ) -> anyhow::Result<Option<(u64, Incoming)>> {
        let path = format!("{repository}/blobs/{digest}");
        let Some(answer) = self.get(&path).await? else { return Ok(None) };
        let bytes = answer.headers().get(CONTENT_LENGTH);
        let bytes = bytes.and_then(|it| it.to_str().ok()?.parse().ok());
        let bytes = bytes.context("learn a blob's size from the registry")?;
        Ok(Some((bytes, answer.into_body())))
    }

    /// Stores a blob whose bytes come through a channel.
    pub async fn put_blob(
        &self,
        repository: &str,
        digest: &str,
        bytes: u64,
        mut content: mpsc::Receiver<Bytes>,
    ) -> anyhow::Result<()> {
        let chunks = stream::poll_fn(move |context| {
            content.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
        });
        let body = BodyExt::boxed(StreamBody::new(chunks));
        let path = format!("{repository}/blobs/uploads/?digest={digest}");
        let request = self.request(Method::POST, &path).header(CONTENT_LENGTH, bytes);
        self.created(request.body(body)?).await.with_context(|| format!("store `{digest}`"))
    }

    /// Stores a manifest, all that it names being there.
    pub async fn put_manifest(
        &self,
        repository: &str,
        digest: &str,
        content: Vec<u8>,
    ) -> anyhow::Result<()> {
        let media_type = Manifest::parse(&content)?.media_type().to_owned();
        let path = format!("{repository}/manifests/{digest}");
        let request = self.request(Method::PUT, &path).header("content-type", media_type);
        let body = Full::new(content.into()).map_err(|never| match never {}).boxed();
        self.created(request.body(body)?).await.with_context(|| format!("store `{digest}`"))
    }

    /// Whether it answers.
    pub async fn answers(&self) -> bool {
        let request = Request::get(format!("http://{}/v2/", self.address)).body(empty());
        match request.map(|request| self.client.request(request)) {
            Ok(answer) => answer.await.is_ok_and(|answer| answer.status().is_success()),
            Err(_) => false,
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Option<Response<Incoming>>> {
        let request = self.request(Method::GET, path).body(empty())?;
        let answer = self.client.request(request).await;
        let answer = answer.with_context(|| format!("ask the registry at {}", self.address))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("get `{path}` from the registry: it answers {status}"),
        }
    }

    async fn created(&self, request: Request<BoxBody<Bytes, io::Error>>) -> anyhow::Result<()> {
        let answer = self.client.request(request).await;
        let answer = answer.with_context(|| format!("ask the registry at {}", self.address))?;
        let status = answer.status();
        if status == StatusCode::CREATED {
            return Ok(());
        }
        let said = Limited::new(answer.into_body(), MAX_MANIFEST).collect().await;
        let said = said.map(|said| said.to_bytes()).unwrap_or_default();
        bail!("have the registry keep it: it answers {status}: {}", String::from_utf8_lossy(&said))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}/v2/{path}", self.address))
    }
}

fn empty() -> BoxBody<Bytes, io::Error> {
    Full::default().map_err(|never| match never {}).boxed()
}
