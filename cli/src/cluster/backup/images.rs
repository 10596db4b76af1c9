//! Images and git histories: out of the registry into a backup, and back.

use std::{collections::BTreeSet, io::Read};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use proto::dump::Image;
use tokio::sync::mpsc;

use super::super::registry::{Manifest, Registry};
use super::archive::{Begun, Reader, Writer, hex};
use super::manifest::IMAGES;
use super::target::Target;
use sha2::{Digest, Sha256};

/// Bytes read at once, and how often they wait for the registry.
const CHUNK: usize = 256 << 10;
const CHUNKS_WAITING: usize = 4;

/// Copies images into a backup, each blob once and before the manifests that name it. Gives those that no registry has:
/// their app was destroyed meanwhile, or they are lost.
pub async fn save(
    registry: &Registry,
    images: &[Image],
    writer: &mut Writer<Target>,
) -> anyhow::Result<Vec<Image>> {
    let mut saving = Saving { registry, writer, saved: BTreeSet::new() };
    let mut missing = Vec::new();
    for image in images {
        let is_whole = saving.image(image).await;
        let is_whole =
            is_whole.with_context(|| format!("save `{}@{}`", image.repository, image.digest))?;
        if !is_whole {
            missing.push(image.clone());
        }
    }
    Ok(missing)
}

struct Saving<'a> {
    registry: &'a Registry,
    writer: &'a mut Writer<Target>,
    saved: BTreeSet<String>,
}

impl Saving<'_> {
    /// False if a piece of it is nowhere.
    async fn image(&mut self, image: &Image) -> anyhow::Result<bool> {
        let repository = &image.repository;
        let Some(content) = self.registry.manifest(repository, &image.digest).await? else {
            return Ok(false);
        };
        if format!("sha256:{}", hex(&Sha256::digest(&content))) != image.digest {
            bail!("trust the registry: the manifest is another one");
        }
        let manifest = Manifest::parse(&content)?;
        for digest in manifest.manifests() {
            let inner = Image { repository: repository.clone(), digest: digest.to_owned() };
            if !Box::pin(self.image(&inner)).await? {
                return Ok(false);
            }
        }
        for digest in manifest.blobs() {
            if !self.saved.contains(digest) && !self.blob(repository, digest).await? {
                return Ok(false);
            }
        }
        let name = format!("{IMAGES}{repository}/manifests/{}", image.digest);
        if self.saved.insert(name.clone()) {
            self.writer.add(&name, &content)?;
        }
        Ok(true)
    }

    async fn blob(&mut self, repository: &str, digest: &str) -> anyhow::Result<bool> {
        let Some((bytes, mut body)) = self.registry.blob(repository, digest).await? else {
            return Ok(false);
        };
        self.writer.get_ref().expect_room(bytes)?;
        self.writer.begin(&format!("{IMAGES}{repository}/blobs/{digest}"), bytes)?;
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.context("read a blob from the registry")?.into_data() {
                self.writer.feed(&data)?;
            }
        }
        let sum = self.writer.end()?;
        if format!("sha256:{sum}") != digest {
            bail!("trust the registry: `{digest}` is something else");
        }
        self.saved.insert(digest.to_owned());
        Ok(true)
    }
}

/// Puts a part of a backup into the registry.
pub async fn load<R: Read>(
    registry: &Registry,
    reader: &mut Reader<R>,
    begun: &Begun,
) -> anyhow::Result<()> {
    let path = begun.name.strip_prefix(IMAGES).unwrap_or_default();
    if let Some((repository, digest)) = path.rsplit_once("/manifests/") {
        let content = reader.content(begun)?;
        return registry.put_manifest(repository, digest, content).await;
    }
    let (repository, digest) =
        path.rsplit_once("/blobs/").with_context(|| format!("understand `{}`", begun.name))?;
    let (sender, content) = mpsc::channel(CHUNKS_WAITING);
    let feeding = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let got = reader.read(&mut chunk)?;
            // Whoever no longer listens says why.
            if got == 0 || sender.send(Bytes::copy_from_slice(&chunk[..got])).await.is_err() {
                break;
            }
        }
        drop(sender);
        anyhow::Ok(())
    };
    let (fed, stored) =
        tokio::join!(feeding, registry.put_blob(repository, digest, begun.bytes, content));
    fed.and(stored)
}
