//! Which images stay: manifests that no release needs go, then the blobs that nothing names.

use std::{collections::HashSet, fs, io, path::Path, time::Duration};

use crate::{
    name::{Digest, Repository},
    refusal::Refusal,
    registry::Registry,
    repositories::Entry,
};

/// What somebody relied on within this time stays: a push under way may be about to name it.
pub const YOUNG: Duration = Duration::from_secs(3600);

/// What is to stay of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// These manifests, what they name, and those pushed or asked for within the hour.
    Keep(Vec<Digest>),
    /// Nothing; the repository is deleted.
    DeleteAll,
}

/// What went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// Manifests of the repository.
    pub manifests: u32,
    /// Blobs of any repository.
    pub blobs: u32,
    /// The bytes of those blobs.
    pub bytes: u64,
}

/// Carries a wish out. Blocks; the caller holds the gate for writing.
pub fn retain(registry: &Registry, repository: &Repository, wish: &Wish) -> Result<Gone, Refusal> {
    if let Wish::Keep(keep) = wish {
        registry.repositories.set_staying(repository, keep)?;
    }
    let mut gone =
        Gone { manifests: drop_manifests(registry, repository, wish)?, ..Gone::default() };
    let named = named_by_anything(registry)?;
    for blob in registry.blobs.list()? {
        if named.contains(&blob.digest) || is_young(registry, blob.touched_ms) {
            continue;
        }
        remove(&blob.path)?;
        gone.blobs += 1;
        gone.bytes += blob.size;
    }
    Ok(gone)
}

fn drop_manifests(
    registry: &Registry,
    repository: &Repository,
    wish: &Wish,
) -> Result<u32, Refusal> {
    let all = registry.repositories.manifests(repository)?;
    let mut kept: HashSet<Digest> = HashSet::new();
    if let Wish::Keep(keep) = wish {
        kept.extend(keep.iter().cloned());
        let young = all.iter().filter(|(_, touched_ms)| is_young(registry, *touched_ms));
        kept.extend(young.map(|(digest, _)| digest.clone()));
        add_images_of_indexes(registry, repository, &mut kept)?;
    }
    let mut count = 0;
    for (digest, _) in all.iter().filter(|(digest, _)| !kept.contains(digest)) {
        count += u32::from(registry.repositories.delete_manifest(repository, digest)?);
    }
    if *wish == Wish::DeleteAll {
        registry.repositories.remove_empty(repository)?;
    }
    Ok(count)
}

/// An index that stays keeps its images, and they theirs.
fn add_images_of_indexes(
    registry: &Registry,
    repository: &Repository,
    kept: &mut HashSet<Digest>,
) -> Result<(), Refusal> {
    let mut open: Vec<Digest> = kept.iter().cloned().collect();
    while let Some(digest) = open.pop() {
        let entry = registry.repositories.peek(repository, &digest)?;
        for image in entry.map(|entry| entry.manifests).unwrap_or_default() {
            if kept.insert(image.clone()) {
                open.push(image);
            }
        }
    }
    Ok(())
}

/// Everything that a manifest of any repository is or names. A damaged entry is an error: nothing is removed then.
fn named_by_anything(registry: &Registry) -> Result<HashSet<Digest>, Refusal> {
    let mut named = HashSet::new();
    for repository in registry.repositories.list()? {
        for (digest, _) in registry.repositories.manifests(&repository)? {
            if let Some(Entry { blobs, .. }) = registry.repositories.peek(&repository, &digest)? {
                named.extend(blobs);
            }
            named.insert(digest);
        }
    }
    Ok(named)
}

fn is_young(registry: &Registry, touched_ms: u64) -> bool {
    let age_ms = registry.clock.now_ms().saturating_sub(touched_ms);
    u128::from(age_ms) < YOUNG.as_millis()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
