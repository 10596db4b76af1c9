//! The registry's memory and the rules between its parts. Everything here blocks; `answer` calls it on blocking threads.
//!
//! A client that is told a blob is here does not send it, and names it in a manifest a moment later. So such an answer
//! touches the blob, the retention spares what was touched within the hour, and both take the gate: many answers at
//! once, or one retention.

use std::{io, path::Path, sync::Arc};

use service::{Clock, durable::DurableError};
use tokio::sync::RwLock;

use crate::{
    blobs::Blobs,
    manifest::Manifest,
    name::{Digest, Reference, Repository, Tag, UploadId},
    refusal::Refusal,
    repositories::{Entry, Repositories},
    uploads::{Floor, Partial, Uploads},
};

/// Everything this registry holds.
pub struct Registry {
    /// Contents.
    pub blobs: Blobs,
    /// Their names.
    pub repositories: Repositories,
    /// What is on its way in.
    pub uploads: Uploads,
    /// Held for reading where an answer makes a client rely on a blob, for writing by the retention.
    pub gate: Arc<RwLock<()>>,
    /// The room the disk must keep.
    pub floor: Floor,
    /// The time.
    pub clock: Clock,
}

/// A manifest found.
#[derive(Debug)]
pub struct Found {
    /// Its digest.
    pub digest: Digest,
    /// How it is served.
    pub media_type: String,
    /// The file of its bytes.
    pub file: std::fs::File,
    /// How many they are.
    pub size: u64,
}

impl Registry {
    /// Opens the registry in `folder`, which is created, and removes what an earlier run left unfinished.
    pub fn open(folder: &Path, min_free: u64, clock: Clock) -> io::Result<Registry> {
        let floor = Floor { folder: folder.to_owned(), min_free };
        Ok(Registry {
            blobs: Blobs::open(folder.join("blobs"))?,
            repositories: Repositories::open(folder.join("repositories"))?,
            uploads: Uploads::open(folder.join("uploads"), floor.clone(), clock.clone())?,
            gate: Arc::default(),
            floor,
            clock,
        })
    }

    /// The manifest a reference stands for now.
    pub fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Found, Refusal> {
        let unknown = || match self.repositories.exists(repository) {
            true => Refusal::manifest_unknown(),
            false => Refusal::name_unknown(),
        };
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => self.repositories.tag(repository, tag)?.ok_or_else(unknown)?,
        };
        let entry = self.repositories.manifest(repository, &digest)?.ok_or_else(unknown)?;
        let (file, size) = self.blobs.read(&digest)?.ok_or_else(unknown)?;
        Ok(Found { digest, media_type: entry.media_type, file, size })
    }

    /// Stores a manifest: everything it names must be here.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        content_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<Digest, Refusal> {
        let digest = Digest::of(bytes);
        if let Reference::Digest(asked) = reference
            && *asked != digest
        {
            let message = format!("the manifest has digest {digest}, not {asked}");
            return Err(Refusal::digest_invalid(message));
        }
        let manifest = Manifest::parse(content_type, bytes)?;
        self.require_all(repository, &manifest)?;
        self.put_bytes(repository, &digest, bytes)?;
        let Manifest { media_type, blobs, manifests } = manifest;
        let entry = Entry { media_type, blobs, manifests };
        self.repositories.put_manifest(repository, &digest, &entry)?;
        if let Reference::Tag(tag) = reference {
            self.repositories.put_tag(repository, tag, &digest)?;
        }
        Ok(digest)
    }

    fn require_all(&self, repository: &Repository, manifest: &Manifest) -> Result<(), Refusal> {
        for blob in &manifest.blobs {
            if self.blobs.touch(blob)?.is_none() {
                return Err(Refusal::manifest_blob_unknown(blob));
            }
        }
        for image in &manifest.manifests {
            if self.repositories.manifest(repository, image)?.is_none() {
                return Err(Refusal::manifest_blob_unknown(image));
            }
        }
        Ok(())
    }

    fn put_bytes(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        if self.blobs.touch(digest)?.is_some() {
            return Ok(());
        }
        let id = self.uploads.start(repository.clone())?;
        let taken = self.take(repository, &id);
        self.uploads.forget(&id);
        let mut partial = taken?;
        partial.write(bytes)?;
        partial.seal(digest.clone())?.store(&self.blobs)
    }

    fn take(&self, repository: &Repository, id: &UploadId) -> Result<Partial, Refusal> {
        let slot = self.uploads.find(repository, id)?;
        let partial = slot.try_lock().ok().and_then(|mut slot| slot.take());
        partial.ok_or_else(Refusal::upload_unknown)
    }

    /// Removes a tag, or a manifest with the tags that stand for it.
    pub fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(), Refusal> {
        let was_here = match reference {
            Reference::Tag(tag) => self.repositories.delete_tag(repository, tag)?,
            Reference::Digest(digest) => self.repositories.delete_manifest(repository, digest)?,
        };
        if was_here { Ok(()) } else { Err(Refusal::manifest_unknown()) }
    }

    /// The tags after `last`.
    pub fn tags(&self, repository: &Repository, last: Option<&str>) -> Result<Vec<Tag>, Refusal> {
        if !self.repositories.exists(repository) {
            return Err(Refusal::name_unknown());
        }
        let mut tags = self.repositories.tags(repository)?;
        tags.retain(|tag| last.is_none_or(|last| tag.as_str() > last));
        Ok(tags)
    }
}

impl From<DurableError> for Refusal {
    fn from(error: DurableError) -> Refusal {
        match error {
            DurableError::Io { action, path, cause } => {
                tracing::debug!(action, path = %path.display(), "a small file failed");
                Refusal::from(cause)
            }
            DurableError::Malformed { .. } | DurableError::TooNew { .. } => {
                tracing::error!(%error, "a small file is damaged");
                Refusal::internal()
            }
        }
    }
}
