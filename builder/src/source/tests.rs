//! Commits made with git2, listed and streamed.

use git2::{Repository, Signature, Time};
use tempfile::TempDir;

use super::*;
use crate::recipe::{Base, plan};

struct Made {
    folder: TempDir,
    repository: Repository,
}

impl Made {
    fn new() -> Made {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        Made { folder, repository }
    }

    /// A commit of `(path, mode, content)`; a submodule's content is ignored.
    fn commit(&self, files: &[(&str, i32, &str)]) -> Place {
        let mut index = git2::Index::new().unwrap();
        for (path, mode, content) in files {
            let id = match *mode {
                0o160_000 => Oid::from_str("1234567890123456789012345678901234567890").unwrap(),
                _ => self.repository.blob(content.as_bytes()).unwrap(),
            };
            let (time, mode) = (git2::IndexTime::new(0, 0), u32::try_from(*mode).unwrap());
            let path = path.as_bytes().to_vec();
            index
                .add(&git2::IndexEntry {
                    ctime: time,
                    mtime: time,
                    dev: 0,
                    ino: 0,
                    mode,
                    uid: 0,
                    gid: 0,
                    file_size: 0,
                    id,
                    flags: 0,
                    flags_extended: 0,
                    path,
                })
                .unwrap();
        }
        let tree = index.write_tree_to(&self.repository).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        let author = Signature::new("a", "a@b", &Time::new(1_700_000_000, 0)).unwrap();
        let commit = self.repository.commit(None, &author, &author, "m", &tree, &[]).unwrap();
        Place {
            repository: self.folder.path().to_owned(),
            quarantine: None,
            commit: commit.to_string(),
        }
    }
}

const FILE: i32 = 0o100_644;

fn tar(place: &Place) -> Vec<u8> {
    let source = Source::open(place.clone()).unwrap();
    let plan = plan(&source.files, Base { stack: "s", app: "a" }).unwrap();
    let mut bytes = Vec::new();
    stream::write(&source, &plan, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_same_commit_gives_the_same_bytes() {
    let long = format!("deep/{}x.txt", "folder-name/".repeat(20));
    let files = [
        ("Procfile", FILE, "web: x\n"),
        ("bin/run", 0o100_755, "#!/bin/sh\n"),
        (long.as_str(), FILE, "long"),
        ("link", 0o120_000, "bin/run"),
    ];
    let (first, second) = (Made::new(), Made::new());
    let bytes = tar(&first.commit(&files));
    assert_eq!(bytes, tar(&second.commit(&files)));
    let mut archive = ::tar::Archive::new(bytes.as_slice());
    let found: Vec<(String, u32, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            (path, header.mode().unwrap(), header.mtime().unwrap())
        })
        .collect();
    let time = 1_700_000_000;
    let long = format!("app/{long}");
    let expected = [
        ("Dockerfile", 0o644),
        ("app/", 0o755),
        ("app/Procfile", 0o644),
        ("app/bin/run", 0o755),
        (&long, 0o644),
        ("app/link", 0o777),
    ];
    assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode, time)));
}

#[test]
fn what_the_ignore_file_names_is_left_out() {
    let made = Made::new();
    let place = made.commit(&[
        ("Procfile", FILE, "web: x"),
        (".slugignore", FILE, "*.psd"),
        ("a.psd", FILE, "secret-drawing"),
    ]);
    assert!(!String::from_utf8_lossy(&tar(&place)).contains("secret-drawing"));
}

#[test]
fn submodules_and_lfs_pointers_are_refused_by_name() {
    let made = Made::new();
    let problem = |files: &[(&str, i32, &str)]| match Source::open(made.commit(files)) {
        Err(SourceError::Refused(problem)) => problem,
        other => panic!("{other:?}"),
    };
    let submodule = problem(&[("vendor/lib", 0o160_000, "")]);
    assert_eq!(submodule.code, Code::Unsupported);
    assert!(submodule.message.contains("vendor/lib"), "{submodule}");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let lfs =
        problem(&[(".gitattributes", FILE, "*.bin filter=lfs\n"), ("big.bin", FILE, pointer)]);
    assert!(lfs.message.contains("big.bin"), "{lfs}");
    let link = problem(&[("Procfile", 0o120_000, "/etc/passwd")]);
    assert!(link.message.contains("symbolic link"), "{link}");
}

#[test]
fn an_empty_tree_is_read_and_has_nothing_to_build() {
    let source = Source::open(Made::new().commit(&[])).unwrap();
    assert!(plan(&source.files, Base { stack: "s", app: "a" }).is_err());
}
