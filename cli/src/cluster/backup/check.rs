//! `clusterctl backup --check`: whether a file is a whole backup, and of what.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail};
use proto::dump::{Entry, Image};

use super::archive::{ArchiveError, Reader};
use super::manifest::{self, Manifest};
use crate::output;

/// A backup that was read to its end.
pub struct Checked {
    /// What it is of.
    pub manifest: Manifest,
    /// The fingerprint of the whole.
    pub fingerprint: String,
    /// Images that no registry had when it was made.
    pub missing: Vec<Image>,
}

/// Checks a file, or standard input as `-`, and says what it holds.
pub fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let input: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(open(file)?) };
    let shown = file.display();
    let checked = read(input).with_context(|| format!("use `{shown}` as a backup"))?;
    output::line(checked.manifest.words());
    for image in &checked.missing {
        output::line(format_args!("it lacks `{}@{}`", image.repository, image.digest));
    }
    output::line(format_args!("backup {}, whole and unchanged", checked.fingerprint));
    Ok(ExitCode::SUCCESS)
}

/// Opens a file to be read from its beginning to its end.
pub fn open(file: &Path) -> anyhow::Result<BufReader<File>> {
    let opened = File::open(file).with_context(|| format!("open `{}`", file.display()))?;
    Ok(BufReader::with_capacity(1 << 20, opened))
}

/// Reads all of a backup and makes sure that everything is in it.
pub fn read(input: impl Read) -> anyhow::Result<Checked> {
    let mut reader = Reader::new(input);
    let first = reader.next()?.ok_or(ArchiveError::Foreign)?;
    // What it says counts only when the end was reached, but a newer format is told before that.
    let manifest = Manifest::parse(&reader.content(&first)?)?;
    let (mut keys, mut entries, mut missing) = (Vec::new(), 0, None);
    while let Some(begun) = reader.next()? {
        if begun.name.starts_with("keys/") {
            keys.push(begun.name);
        } else if begun.name.starts_with(manifest::STORE) {
            let content = reader.content(&begun)?;
            for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                serde_json::from_slice::<Entry>(line)
                    .with_context(|| format!("understand `{}`", begun.name))?;
                entries += 1;
            }
        } else if begun.name == manifest::MISSING {
            missing = Some(serde_json::from_slice(&reader.content(&begun)?)?);
        } else if !begun.name.starts_with(manifest::IMAGES) {
            bail!("understand `{}` in it", begun.name);
        }
    }
    let fingerprint = reader.fingerprint().unwrap_or_default().to_owned();
    for wanted in [manifest::SEAL_KEY, manifest::CA_PEM, manifest::CA_KEY] {
        if !keys.iter().any(|key| key == wanted) {
            bail!("find `{wanted}` in it");
        }
    }
    if entries != manifest.entries {
        bail!("find all entries in it: it has {entries} of {}", manifest.entries);
    }
    let missing = missing.with_context(|| format!("find `{}` in it", manifest::MISSING))?;
    Ok(Checked { manifest, fingerprint, missing })
}
