//! What belongs to which repository: one small file per manifest and one per tag.
//!
//! ```text
//! <repository>/_manifests/<64 digits>   its media type and the digests it names
//! <repository>/_tags/<tag>              the digest it stands for
//! <repository>/_staying                 the manifests that the controller last said stay
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use service::durable::{self, DurableError};

use crate::{
    blobs::{sync_folder, touch},
    name::{Digest, Repository, Tag},
    refusal::Refusal,
};

const MANIFESTS: &str = "_manifests";
const TAGS: &str = "_tags";
const STAYING: &str = "_staying";
const VERSION: u32 = 1;

/// A manifest as its repository knows it. The bytes are a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How it is served.
    pub media_type: String,
    /// The blobs of an image.
    pub blobs: Vec<Digest>,
    /// The images of an index.
    pub manifests: Vec<Digest>,
}

/// All repositories of this node. All calls block.
#[derive(Debug)]
pub struct Repositories {
    root: PathBuf,
}

impl Repositories {
    /// The repositories below `root`, which is created.
    pub fn open(root: PathBuf) -> io::Result<Repositories> {
        fs::create_dir_all(&root)?;
        Ok(Repositories { root })
    }

    /// Every repository.
    pub fn list(&self) -> io::Result<Vec<Repository>> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for name in names(&self.root.join(&folder))? {
                if name == MANIFESTS {
                    found.extend(folder.parse());
                } else if !name.starts_with('_') {
                    let joined = format!("{folder}/{name}");
                    folders.push(joined.trim_start_matches('/').to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Whether anything was ever stored in it.
    pub fn exists(&self, repository: &Repository) -> bool {
        self.folder(repository, MANIFESTS).exists()
    }

    /// A manifest, if it is here; it then counts as young.
    pub fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Entry>, DurableError> {
        let path = self.folder(repository, MANIFESTS).join(digest.hex());
        let entry = durable::read_json(&path, VERSION)?;
        if entry.is_some() {
            let touched = File::open(&path).and_then(|file| touch(&file));
            touched.map_err(|cause| failed("touch", &path, cause))?;
        }
        Ok(entry)
    }

    /// A manifest without the effect of asking.
    pub fn peek(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Entry>, DurableError> {
        durable::read_json(&self.folder(repository, MANIFESTS).join(digest.hex()), VERSION)
    }

    /// Stores a manifest whose bytes and everything it names are here.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        entry: &Entry,
    ) -> Result<(), DurableError> {
        self.write(&self.folder(repository, MANIFESTS), digest.hex(), entry)
    }

    /// Removes a manifest and the tags that stand for it; false if it was not here.
    pub fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, DurableError> {
        // The tags first: a crash between leaves a manifest without tags, never a tag without its manifest.
        for tag in self.tags(repository).map_err(|cause| failed("list", &self.root, cause))? {
            if self.tag(repository, &tag)?.as_ref() == Some(digest) {
                self.delete_tag(repository, &tag)?;
            }
        }
        remove(&self.folder(repository, MANIFESTS).join(digest.hex()))
    }

    /// Every manifest of a repository and when somebody last relied on it, in milliseconds since 1970.
    pub fn manifests(&self, repository: &Repository) -> io::Result<Vec<(Digest, u64)>> {
        let folder = self.folder(repository, MANIFESTS);
        let digests = names(&folder)?.into_iter().filter_map(|name| Digest::from_hex(&name));
        digests
            .map(|digest| {
                let modified = fs::metadata(folder.join(digest.hex()))?.modified()?;
                let since = modified.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                Ok((digest, u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
            })
            .collect()
    }

    /// Remembers which manifests stay.
    pub fn set_staying(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> Result<(), DurableError> {
        match self.exists(repository) {
            true => self.write(&self.root.join(repository.as_str()), STAYING, &digests),
            false => Ok(()),
        }
    }

    /// The manifests that are here to stay; all, as long as nobody said which.
    pub fn staying(&self, repository: &Repository) -> Result<Vec<Digest>, Refusal> {
        let here = self.manifests(repository)?.into_iter().map(|(digest, _)| digest);
        let staying: Option<Vec<Digest>> = read(&self.folder(repository, STAYING))?;
        Ok(match staying {
            Some(staying) => here.filter(|digest| staying.contains(digest)).collect(),
            None => here.collect(),
        })
    }

    /// What a tag stands for.
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, DurableError> {
        read(&self.folder(repository, TAGS).join(tag.as_str()))
    }

    /// Makes a tag stand for a manifest that is here.
    pub fn put_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), DurableError> {
        self.write(&self.folder(repository, TAGS), tag.as_str(), digest)
    }

    /// Removes a tag; false if it was not here.
    pub fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool, DurableError> {
        remove(&self.folder(repository, TAGS).join(tag.as_str()))
    }

    /// The tags of a repository, sorted.
    pub fn tags(&self, repository: &Repository) -> io::Result<Vec<Tag>> {
        let mut names = names(&self.folder(repository, TAGS))?;
        names.sort_unstable();
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes what is left of a repository that has no manifests any more.
    pub fn remove_empty(&self, repository: &Repository) -> io::Result<()> {
        let own = self.root.join(repository.as_str());
        match fs::remove_file(own.join(STAYING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for folder in [own.join(TAGS), own.join(MANIFESTS), own] {
            match fs::remove_dir(&folder) {
                Ok(()) => {}
                // The folder holds other repositories below it.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write<T: Serialize>(
        &self,
        folder: &Path,
        name: &str,
        document: &T,
    ) -> Result<(), DurableError> {
        self.create(folder).map_err(|cause| failed("create folder", folder, cause))?;
        durable::write_json(&folder.join(name), VERSION, document, durable::PUBLIC)
    }

    /// Creates a folder below the root, each new name made durable.
    fn create(&self, folder: &Path) -> io::Result<()> {
        if folder.exists() {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let parents = folder.ancestors().skip(1).take_while(|path| path.starts_with(&self.root));
        parents.into_iter().try_for_each(sync_folder)
    }

    fn folder(&self, repository: &Repository, kind: &str) -> PathBuf {
        self.root.join(repository.as_str()).join(kind)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DurableError> {
    durable::read_json(path, VERSION)
}

fn remove(path: &Path) -> Result<bool, DurableError> {
    match fs::remove_file(path) {
        Ok(()) => {
            let folder = path.parent().expect("a file stands in a folder");
            sync_folder(folder).map_err(|cause| failed("sync", folder, cause))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(failed("remove", path, cause)),
    }
}

fn failed(action: &'static str, path: &Path, cause: io::Error) -> DurableError {
    DurableError::Io { action, path: path.to_owned(), cause }
}

/// The names in a folder; none if there is no folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_takes_its_tags_with_it_and_leaves_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(folder.path().join("r")).unwrap();
        let (outer, inner): (Repository, Repository) =
            ("team".parse().unwrap(), "team/shop".parse().unwrap());
        let entry =
            Entry { media_type: "x".to_owned(), blobs: vec![Digest::of(b"b")], manifests: vec![] };
        let digest = Digest::of(b"m");
        for repository in [&outer, &inner] {
            repositories.put_manifest(repository, &digest, &entry).unwrap();
            repositories.put_tag(repository, &"v1".parse().unwrap(), &digest).unwrap();
        }
        assert_eq!(repositories.manifest(&outer, &digest).unwrap(), Some(entry));
        assert!(repositories.delete_manifest(&outer, &digest).unwrap());
        assert!(!repositories.delete_manifest(&outer, &digest).unwrap());
        assert_eq!(repositories.tag(&outer, &"v1".parse().unwrap()).unwrap(), None);
        repositories.remove_empty(&outer).unwrap();
        assert_eq!(repositories.list().unwrap(), vec![inner.clone()]);
        assert_eq!(repositories.tags(&inner).unwrap(), ["v1".parse().unwrap()]);
    }
}
