//! A commit as a build's source: what files it has, and its tree as a deterministic tar stream.

mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use git2::{FileMode, ObjectType, Oid, Repository};
use proto::problem::{Code, Problem};

use crate::recipe::{Files, Ignore, MAX_TEXT, READ};

pub use stream::stream;

/// More files than this are not deployed.
const MAX_FILES: usize = 200_000;
/// What a Git LFS pointer begins with.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// A longer file is no pointer.
const LFS_POINTER_MAX: usize = 1024;
/// How many paths a refusal names.
const NAMED: usize = 10;

/// Where a commit lies: the repository, and the quarantine its objects may still be in.
#[derive(Debug, Clone)]
pub struct Place {
    /// The bare repository.
    pub repository: PathBuf,
    /// Where git keeps the objects of a push that is not accepted yet.
    pub quarantine: Option<PathBuf>,
    /// The commit, in full.
    pub commit: String,
}

/// A commit's files.
#[derive(Debug, Clone)]
pub struct Source {
    place: Place,
    entries: Vec<Entry>,
    /// Of the commit, in seconds since the epoch: the time of every file.
    time: u64,
    /// What recipes look at.
    pub files: Files,
}

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    id: Oid,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Program,
    Link,
}

/// Why a commit cannot be built from.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The push has something that is not supported.
    #[error("{0}")]
    Refused(Problem),
    /// The repository could not be read.
    #[error("read the pushed commit")]
    Git(#[from] git2::Error),
}

impl From<Problem> for SourceError {
    fn from(problem: Problem) -> SourceError {
        SourceError::Refused(problem)
    }
}

impl Source {
    /// Lists a commit's files and reads the few that recipes look at. Blocks.
    pub fn open(place: Place) -> Result<Source, SourceError> {
        let repository = open(&place)?;
        let commit = repository.find_commit(Oid::from_str(&place.commit)?)?;
        let mut walk = Walk::default();
        walk.folder(&repository, &commit.tree()?, "")?;
        if let Some(refusal) = walk.refusal() {
            return Err(refusal.into());
        }
        refuse_lfs_pointers(&repository, &walk.entries)?;
        let texts = texts(&repository, &walk.entries)?;
        let paths: BTreeSet<String> = walk.entries.iter().map(|entry| entry.path.clone()).collect();
        let time = u64::try_from(commit.time().seconds()).unwrap_or(0);
        Ok(Source { place, entries: walk.entries, time, files: Files { paths, texts } })
    }

    /// How many files an ignore list leaves in.
    pub fn count(&self, ignore: &Ignore) -> usize {
        self.entries.iter().filter(|entry| !ignore.leaves_out(&entry.path)).count()
    }
}

fn open(place: &Place) -> Result<Repository, git2::Error> {
    let repository = Repository::open_bare(&place.repository)?;
    if let Some(quarantine) = &place.quarantine {
        repository.odb()?.add_disk_alternate(&path_text(quarantine)?)?;
    }
    Ok(repository)
}

fn path_text(path: &Path) -> Result<String, git2::Error> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| git2::Error::from_str("the quarantine's path is not UTF-8"))
}

#[derive(Default)]
struct Walk {
    entries: Vec<Entry>,
    submodules: Vec<String>,
    strange: Vec<String>,
}

impl Walk {
    fn folder(
        &mut self,
        repository: &Repository,
        tree: &git2::Tree<'_>,
        prefix: &str,
    ) -> Result<(), git2::Error> {
        for entry in tree {
            if self.entries.len() > MAX_FILES {
                return Ok(());
            }
            let name = match entry.name() {
                Ok(name) if !matches!(name, "" | "." | "..") && !name.contains('/') => name,
                _ => {
                    let shown = String::from_utf8_lossy(entry.name_bytes());
                    self.strange.push(format!("{prefix}{shown}"));
                    continue;
                }
            };
            let path = format!("{prefix}{name}");
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let folder = repository.find_tree(entry.id())?;
                    self.folder(repository, &folder, &format!("{path}/"))?;
                }
                Some(ObjectType::Commit) => self.submodules.push(path),
                _ => self.entries.push(Entry {
                    path,
                    id: entry.id(),
                    kind: kind_of(entry.filemode()),
                }),
            }
        }
        Ok(())
    }

    fn refusal(&self) -> Option<Problem> {
        if !self.submodules.is_empty() {
            let message = format!("the commit has submodules: {}", named(&self.submodules));
            return Some(Problem::new(Code::Unsupported, message).hint(
                "Put their files into this repository, for example with `git subtree`, or install them as dependencies",
            ));
        }
        if !self.strange.is_empty() {
            let message = format!("file names must be UTF-8 and plain: {}", named(&self.strange));
            return Some(Problem::new(Code::Unsupported, message).hint("Rename them"));
        }
        if self.entries.len() > MAX_FILES {
            let message = format!("the commit has more than {MAX_FILES} files");
            return Some(Problem::new(Code::TooLarge, message));
        }
        None
    }
}

fn kind_of(mode: i32) -> Kind {
    if mode == i32::from(FileMode::Link) {
        Kind::Link
    } else if mode & 0o111 != 0 {
        Kind::Program
    } else {
        Kind::File
    }
}

fn named(paths: &[String]) -> String {
    let mut text = paths.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if paths.len() > NAMED {
        text.push_str(&format!(" and {} more", paths.len() - NAMED));
    }
    text
}

fn texts(
    repository: &Repository,
    entries: &[Entry],
) -> Result<BTreeMap<String, String>, SourceError> {
    let mut texts = BTreeMap::new();
    for entry in entries.iter().filter(|entry| READ.contains(&entry.path.as_str())) {
        if entry.kind == Kind::Link {
            let message = format!("{} is a symbolic link", entry.path);
            return Err(Problem::new(Code::Unsupported, message)
                .hint("Make it a plain file")
                .into());
        }
        let blob = repository.find_blob(entry.id)?;
        if blob.size() > MAX_TEXT {
            let message = format!("{} is larger than 1 MiB", entry.path);
            return Err(Problem::new(Code::TooLarge, message).into());
        }
        let text = String::from_utf8(blob.content().to_vec()).map_err(|_| {
            Problem::new(Code::Invalid, format!("{} is not UTF-8 text", entry.path))
        })?;
        texts.insert(entry.path.clone(), text);
    }
    Ok(texts)
}

/// Files that Git LFS keeps elsewhere would be deployed as a line of text. Only looked for where an attribute file
/// speaks of it.
fn refuse_lfs_pointers(repository: &Repository, entries: &[Entry]) -> Result<(), SourceError> {
    let attributes = entries
        .iter()
        .filter(|entry| entry.path == ".gitattributes" || entry.path.ends_with("/.gitattributes"));
    let mut uses_lfs = false;
    for entry in attributes {
        let blob = repository.find_blob(entry.id)?;
        uses_lfs |= blob.content().windows(10).any(|bytes| bytes == b"filter=lfs");
    }
    if !uses_lfs {
        return Ok(());
    }
    let database = repository.odb()?;
    let mut pointers = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind != Kind::Link) {
        let (size, _) = database.read_header(entry.id)?;
        if size <= LFS_POINTER_MAX
            && repository.find_blob(entry.id)?.content().starts_with(LFS_POINTER)
        {
            pointers.push(entry.path.clone());
        }
    }
    if pointers.is_empty() {
        return Ok(());
    }
    let message = format!("files kept by Git LFS are not in the push: {}", named(&pointers));
    Err(Problem::new(Code::Unsupported, message)
        .hint("Commit them as plain files (`git lfs migrate export`), or fetch them when the app starts")
        .into())
}

#[cfg(test)]
mod tests;
