//! The registry's memory and the rules between its parts. What has no `async` here blocks.
//!
//! A client that is told a blob is here does not send it, and names it in a manifest a moment later. So such an answer
//! touches the blob, the retention spares what was touched within the hour, and both take the gate: many answers at
//! once, or one retention.

use std::{io, path::Path, sync::Arc};

use service::{Clock, durable::DurableError};
use tokio::{sync::RwLock, task::spawn_blocking};

use crate::{
    blobs::Blobs,
    manifest::Manifest,
    name::{Digest, Reference, Repository, Tag},
    refusal::Refusal,
    repositories::{Entry, Repositories},
    uploads::{Floor, Uploads},
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
        self.put_bytes(&digest, bytes)?;
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

    fn put_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Refusal> {
        if self.blobs.touch(digest)?.is_some() {
            return Ok(());
        }
        let mut partial = self.uploads.start_unnamed()?;
        partial.write(bytes)?;
        partial.seal(digest.clone())?.store(&self.blobs)
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

    /// The tags that stand for a manifest.
    pub fn tags_of(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Tag>, Refusal> {
        let mut own = Vec::new();
        for tag in self.repositories.tags(repository)? {
            if self.repositories.tag(repository, &tag)?.as_ref() == Some(digest) {
                own.push(tag);
            }
        }
        Ok(own)
    }

    /// Work on whose result somebody relies: no retention runs beside it, not even if the asker goes away.
    pub async fn with_gate<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Registry) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let pass = self.gate.clone().read_owned().await;
        self.blocking(move |registry| {
            let done = work(registry);
            drop(pass);
            done
        })
        .await
    }

    /// Work on a thread that may block.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Registry) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let registry = self.clone();
        spawn_blocking(move || work(&registry)).await.map_err(|_| Refusal::internal())?
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
