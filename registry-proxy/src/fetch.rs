//! Brings here what only other nodes have: blobs, verified as they come, and images whole.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use proto::registry::BlobPiece;
use tokio::{task::spawn_blocking, time::timeout};
use tonic::Streaming;

use crate::{
    flights::Flights,
    manifest::Manifest,
    name::{Digest, Reference, Repository},
    peers::Peers,
    refusal::Refusal,
    registry::Registry,
    uploads::Partial,
};

/// Blobs of one image that are fetched at once.
const AT_ONCE: usize = 4;
/// A peer that sends nothing for this long in the middle of a blob is left.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// How often a blob that broke off is continued, from whoever has it.
const CONTINUATIONS: u32 = 5;

/// Fetches for this node. A cheap handle.
#[derive(Clone)]
pub struct Fetcher {
    registry: Arc<Registry>,
    peers: Peers,
    blobs: Arc<Flights<Digest>>,
    images: Arc<Flights<(Repository, Reference)>>,
}

impl Fetcher {
    /// From these peers into this registry.
    pub fn new(registry: Arc<Registry>, peers: Peers) -> Fetcher {
        Fetcher { registry, peers, blobs: Arc::default(), images: Arc::default() }
    }

    /// Sees to it that a manifest is here, and all it names.
    pub async fn image(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(), Refusal> {
        let _alone = self.images.enter((repository.clone(), reference.clone())).await;
        let (name, asked) = (repository.clone(), reference.clone());
        let here = self.registry.with_gate(move |registry| registry.manifest(&name, &asked)).await;
        if here.is_ok() {
            return Ok(());
        }
        let found = self.peers.find(repository, reference).await;
        let found = found.ok_or_else(Refusal::manifest_unknown)?;
        let manifest = Manifest::parse(Some(&found.media_type), &found.content)?;
        for image in &manifest.manifests {
            Box::pin(self.image(repository, &Reference::Digest(image.clone()))).await?;
        }
        let blobs: Vec<_> = manifest.blobs.iter().map(|digest| self.blob(digest)).collect();
        stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        let (name, asked) = (repository.clone(), reference.clone());
        let put = move |registry: &Registry| {
            registry.put_manifest(&name, &asked, Some(&found.media_type), &found.content)
        };
        let digest = self.registry.with_gate(put).await?;
        tracing::info!(
            repository = repository.as_str(),
            digest = digest.as_str(),
            "fetched from another node"
        );
        Ok(())
    }

    /// Sees to it that a blob is here.
    pub async fn blob(&self, digest: &Digest) -> Result<(), Refusal> {
        let _alone = self.blobs.enter(digest.clone()).await;
        let wanted = digest.clone();
        let here = self.registry.with_gate(move |registry| Ok(registry.blobs.touch(&wanted)?));
        if here.await?.is_some() {
            return Ok(());
        }
        let mut partial = None;
        for _ in 0..CONTINUATIONS {
            let offset = partial.as_ref().map_or(0, Partial::size);
            let Some(pieces) = self.peers.read(digest, offset).await else { break };
            let known = match partial {
                Some(partial) => partial,
                None => self.registry.blocking(|registry| registry.uploads.start_unnamed()).await?,
            };
            let (received, is_whole) = receive(pieces, known).await?;
            if is_whole {
                return self.store(received, digest).await;
            }
            partial = Some(received);
        }
        Err(Refusal::blob_unknown())
    }

    async fn store(&self, partial: Partial, digest: &Digest) -> Result<(), Refusal> {
        let digest = digest.clone();
        let sealed = self.registry.blocking(move |_| partial.seal(digest)).await?;
        self.registry.with_gate(move |registry| sealed.store(&registry.blobs)).await
    }
}

/// Adds what comes; says whether it came to its end.
async fn receive(
    mut pieces: Streaming<BlobPiece>,
    mut partial: Partial,
) -> Result<(Partial, bool), Refusal> {
    loop {
        let piece = match timeout(IDLE_LIMIT, pieces.message()).await {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => return Ok((partial, true)),
            Ok(Err(status)) => {
                tracing::debug!(%status, "a blob broke off");
                return Ok((partial, false));
            }
            Err(_) => return Ok((partial, false)),
        };
        let written = spawn_blocking(move || partial.write(&piece.content).map(|()| partial));
        partial = written.await.map_err(|_| Refusal::internal())??;
    }
}
