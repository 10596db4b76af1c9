//! The gRPC side: what the controller and the other nodes' registries ask beside the OCI protocol.

use std::{
    io::{Read, Seek, SeekFrom},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt};
use proto::registry::{
    BlobPiece, BlobRequest, CopyAnswer, CopyRequest, ManifestAnswer, ManifestRequest, RetainAnswer,
    RetainRequest, SurveyAnswer, SurveyRequest,
    registry_server::{Registry as Service, RegistryServer},
};
use service::durable;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{
    fetch::Fetcher,
    manifest,
    name::{Digest, NameError, Reference, Repository, Tag},
    peers::Peers,
    refusal::Refusal,
    registry::Registry,
    repair::Asked,
    retain::{Wish, retain},
};

/// A blob travels in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;
/// A manifest and its frame.
const MAX_MESSAGE: usize = manifest::MAX_BYTES + (64 << 10);

/// The service over a registry.
pub struct Control {
    /// What is here.
    pub registry: Arc<Registry>,
    /// Who else there is.
    pub peers: Peers,
    /// Takes copies.
    pub fetcher: Fetcher,
    /// Told which repositories to look at.
    pub repair: Asked,
}

impl Control {
    /// Ready for a tonic server.
    pub fn service(self) -> RegistryServer<Control> {
        RegistryServer::new(self).max_encoding_message_size(MAX_MESSAGE)
    }

    /// A registry of a node of the cluster.
    fn require_peer<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let peer = service::peer(request)?;
        peer.require_role(&["registry-proxy"])?;
        match self.peers.is_member(&peer.node) {
            true => Ok(()),
            false => Err(Status::permission_denied(format!("{peer} is not of this cluster"))),
        }
    }
}

#[tonic::async_trait]
impl Service for Control {
    async fn retain(
        &self,
        request: Request<RetainRequest>,
    ) -> Result<Response<RetainAnswer>, Status> {
        service::peer(&request)?.require_role(&["controller"])?;
        let (repository, wish) = read(request.into_inner())?;
        let (registry, name) = (self.registry.clone(), repository.clone());
        let pass = registry.gate.clone().write_owned().await;
        let retained = spawn_blocking(move || {
            let done = retain(&registry, &repository, &wish);
            drop(pass);
            done
        });
        let gone = retained
            .await
            .map_err(|_| Status::internal("the retention panicked"))?
            .map_err(|refusal| Status::internal(refusal.message))?;
        tracing::info!(
            repository = name.as_str(),
            manifests = gone.manifests,
            blobs = gone.blobs,
            bytes = gone.bytes,
            "retained"
        );
        self.repair.look_at(name);
        Ok(Response::new(RetainAnswer {
            manifests_deleted: gone.manifests,
            blobs_deleted: gone.blobs,
            bytes_freed: gone.bytes,
        }))
    }

    async fn find_manifest(
        &self,
        request: Request<ManifestRequest>,
    ) -> Result<Response<ManifestAnswer>, Status> {
        self.require_peer(&request)?;
        let ManifestRequest { repository, reference } = request.into_inner();
        let repository: Repository = repository.parse().map_err(invalid)?;
        let reference: Reference = reference.parse().map_err(invalid)?;
        let read = move |registry: &Registry| {
            let mut found = registry.manifest(&repository, &reference)?;
            let mut content = Vec::new();
            found.file.read_to_end(&mut content)?;
            Ok(ManifestAnswer { media_type: found.media_type, content })
        };
        self.registry.with_gate(read).await.map(Response::new).map_err(status)
    }

    async fn read_blob(
        &self,
        request: Request<BlobRequest>,
    ) -> Result<Response<BoxStream<BlobPiece>>, Status> {
        self.require_peer(&request)?;
        let BlobRequest { digest, offset } = request.into_inner();
        let digest: Digest = digest.parse().map_err(invalid)?;
        let open = move |registry: &Registry| {
            let (mut file, _) = registry.blobs.read(&digest)?.ok_or_else(Refusal::blob_unknown)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        let file = self.registry.blocking(open).await.map_err(status)?;
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES)
            .map_ok(|piece| BlobPiece { content: piece.into() })
            .map_err(|error| status(error.into()));
        Ok(Response::new(pieces.boxed()))
    }

    async fn survey(
        &self,
        request: Request<SurveyRequest>,
    ) -> Result<Response<SurveyAnswer>, Status> {
        self.require_peer(&request)?;
        let SurveyRequest { repository, manifest, blobs } = request.into_inner();
        let repository: Repository = repository.parse().map_err(invalid)?;
        let manifest: Digest = manifest.parse().map_err(invalid)?;
        let blobs: Vec<Digest> = digests(&blobs)?;
        let survey = move |registry: &Registry| {
            let mut missing = 0;
            for blob in &blobs {
                missing += u32::from(registry.blobs.read(blob)?.is_none());
            }
            let is_known = registry.repositories.peek(&repository, &manifest)?.is_some();
            let free = durable::free_bytes(&registry.floor.folder)?;
            let room_bytes = free.saturating_sub(registry.floor.min_free);
            Ok(SurveyAnswer { complete: is_known && missing == 0, missing, room_bytes })
        };
        self.registry.blocking(survey).await.map(Response::new).map_err(status)
    }

    async fn copy(&self, request: Request<CopyRequest>) -> Result<Response<CopyAnswer>, Status> {
        self.require_peer(&request)?;
        let CopyRequest { repository, manifest, tag } = request.into_inner();
        let repository: Repository = repository.parse().map_err(invalid)?;
        let manifest: Digest = manifest.parse().map_err(invalid)?;
        let tag: Option<Tag> = match tag.as_str() {
            "" => None,
            tag => Some(tag.parse().map_err(invalid)?),
        };
        let reference = Reference::Digest(manifest.clone());
        self.fetcher.image(&repository, &reference).await.map_err(status)?;
        let Some(tag) = tag else { return Ok(Response::new(CopyAnswer {})) };
        let put = move |registry: &Registry| {
            Ok(registry.repositories.put_tag(&repository, &tag, &manifest)?)
        };
        self.registry.with_gate(put).await.map_err(status)?;
        Ok(Response::new(CopyAnswer {}))
    }
}

fn invalid(error: NameError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn digests(texts: &[String]) -> Result<Vec<Digest>, Status> {
    texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(invalid)
}

fn status(refusal: Refusal) -> Status {
    let message = refusal.to_string();
    if refusal.is_unknown() {
        return Status::not_found(message);
    }
    match refusal == Refusal::disk_full() {
        true => Status::resource_exhausted(message),
        false => Status::internal(message),
    }
}

/// Reads the whole request before anything is removed.
fn read(request: RetainRequest) -> Result<(Repository, Wish), Status> {
    let repository = request.repository.parse().map_err(invalid)?;
    let keep = digests(&request.keep)?;
    match (keep.is_empty(), request.whole) {
        (false, false) => Ok((repository, Wish::Keep(keep))),
        (true, true) => Ok((repository, Wish::DeleteAll)),
        // An empty list may be a mistake of the caller; deleting everything is said with `whole`.
        (true, false) => Err(Status::invalid_argument("nothing to keep, and `whole` is not set")),
        (false, true) => Err(Status::invalid_argument("`whole` keeps nothing, but `keep` is set")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleting_everything_must_be_said() {
        let ask = |repository: &str, keep: &[&str], whole| {
            let keep = keep.iter().map(|text| (*text).to_owned()).collect();
            read(RetainRequest { repository: repository.to_owned(), keep, whole })
        };
        let digest = Digest::of(b"x");
        assert!(matches!(ask("shop", &[digest.as_str()], false), Ok((_, Wish::Keep(_)))));
        assert!(matches!(ask("shop", &[], true), Ok((_, Wish::DeleteAll))));
        for wrong in [
            ask("shop", &[], false),
            ask("shop", &[digest.as_str()], true),
            ask("../x", &[], true),
            ask("shop", &[digest.as_str(), "v1"], false),
        ] {
            assert_eq!(wrong.unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
