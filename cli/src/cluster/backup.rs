//! `clusterctl backup`: everything a cluster can be rebuilt from, in one file.
//!
//! The controller gives its whole memory at one revision; beside it go the keys of this node and, out of the registry, the
//! images that are in force and the git histories. Nothing is held in memory but a piece at a time.

pub mod archive;
pub mod check;
pub mod images;
pub mod manifest;
pub mod target;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use clap::Args;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::dump::{self, Head, Image};
use service::identity::{CA_FILE, CA_KEY_FILE};

use super::{
    ClusterArguments, api::Api, choices::Choices, layout::Layout, provision::saved_choices,
    registry::Registry,
};
use archive::Writer;
use manifest::Manifest;
use target::Target;

/// Entries go into parts of this size.
const PIECE_BYTES: usize = 4 << 20;
/// The largest first line: it lists the images.
const MAX_HEAD_BYTES: usize = 64 << 20;
/// A controller that says nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Args)]
pub struct Backup {
    /// The file to write, or `-` for standard output
    file: PathBuf,
    /// Write nothing: read this file (or `-`) and say whether it is whole and unchanged
    #[arg(long, conflicts_with_all = ["stale", "without_images"])]
    check: bool,
    /// Without a quorum, take what the nearest node remembers; the backup says so
    #[arg(long)]
    stale: bool,
    /// Leave out images and git histories: smaller, but each app must be pushed again after a restore
    #[arg(long)]
    without_images: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// Writes a backup, or checks one.
pub async fn backup(backup: Backup) -> anyhow::Result<ExitCode> {
    if backup.check {
        return check::check(&backup.file);
    }
    let layout = &backup.cluster.layout();
    let choices = saved_choices(layout).context("read the choices of this cluster")?;
    let choices =
        choices.with_context(|| format!("find a cluster in `{}`", layout.data.display()))?;
    let api = Api::of_operator(layout, &choices)?;
    let target = Target::begin(&backup.file)?;
    let mut writer = Writer::new(target);
    let made = write(&backup, &choices, &api, &mut writer).await;
    let made = made.and_then(|made| {
        let (target, fingerprint) = writer.finish()?;
        Ok((made, fingerprint, target.keep()?))
    });
    let ((manifest, missing), fingerprint, bytes) = made.context("make the backup")?;
    let shown = backup.file.display();
    eprintln!("{}", manifest.words());
    eprintln!("backup {fingerprint}, {} MiB, in `{shown}`", bytes.div_ceil(1 << 20));
    eprintln!(
        "It holds the keys of the cluster: who can read it can read every secret and be every part. Keep it as you keep a password."
    );
    for image in &missing {
        eprintln!(
            "clusterctl: no registry has `{}@{}`, so the backup lacks it; push the app again, or roll it back",
            image.repository, image.digest
        );
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn write(
    backup: &Backup,
    choices: &Choices,
    api: &Api,
    writer: &mut Writer<Target>,
) -> anyhow::Result<(Manifest, Vec<Image>)> {
    let path = format!("/v1/cluster/backup?stale={}", backup.stale);
    let mut lines = Lines::new(api.stream(&path).await?);
    let head = lines.head().await?;
    let manifest = Manifest::of(&head, choices, !backup.without_images);
    writer.add(archive::FIRST, &serde_json::to_vec(&manifest)?)?;
    keys(&backup.cluster.layout(), &head, writer)?;
    lines.entries(head.entries, writer).await?;
    let mut missing = Vec::new();
    if !backup.without_images {
        let registry = Registry::new(format!("127.0.0.1:{}", choices.ports.registry));
        missing = images::save(&registry, &head.images, writer).await?;
    }
    writer.add(manifest::MISSING, &serde_json::to_vec(&missing)?)?;
    Ok((manifest, missing))
}

/// The keys that lie on this node, and the authority: on the node the cluster began on, else as the controller opened it.
fn keys(layout: &Layout, head: &Head, writer: &mut Writer<Target>) -> anyhow::Result<()> {
    let read = |path: PathBuf| {
        fs::read(&path).with_context(|| format!("read `{}` (run as root)", path.display()))
    };
    writer.add(manifest::SEAL_KEY, &read(layout.seal_key())?)?;
    let (ca_pem, key_pem) = match &head.authority {
        Some(authority) => (authority.ca_pem.clone().into(), authority.key_pem.clone().into()),
        None => {
            let folder = layout.authority();
            (read(folder.join(CA_FILE))?, read(folder.join(CA_KEY_FILE))?)
        }
    };
    writer.add(manifest::CA_PEM, &ca_pem)?;
    writer.add(manifest::CA_KEY, &key_pem)?;
    // A builder that never ran has none.
    if layout.host_key().exists() {
        writer.add(manifest::HOST_KEY, &read(layout.host_key())?)?;
    }
    Ok(())
}

/// The controller's lines as they come.
struct Lines {
    body: Incoming,
    got: BytesMut,
}

impl Lines {
    fn new(body: Incoming) -> Lines {
        Lines { body, got: BytesMut::new() }
    }

    /// Waits for more; false at the end.
    async fn more(&mut self) -> anyhow::Result<bool> {
        let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
        match frame.context("hear more of the controller")? {
            Some(frame) => {
                if let Ok(data) = frame.context("read the memory from the controller")?.into_data()
                {
                    self.got.extend_from_slice(&data);
                }
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        let end = loop {
            if let Some(end) = self.got.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.got.len() > MAX_HEAD_BYTES || !self.more().await? {
                bail!("understand the controller's first line");
            }
        };
        let head: Head = serde_json::from_slice(&self.got[..end])
            .context("understand the controller's first line")?;
        if head.version != dump::VERSION {
            bail!("understand the controller: it is of another version than this clusterctl");
        }
        self.got.advance(end + 1);
        Ok(head)
    }

    /// Writes the rest, piece by piece.
    async fn entries(&mut self, wanted: u64, writer: &mut Writer<Target>) -> anyhow::Result<()> {
        let (mut piece, mut found) = (0, 0);
        loop {
            let is_more = self.more().await?;
            if self.got.len() >= PIECE_BYTES || (!is_more && !self.got.is_empty()) {
                piece += 1;
                found += self.got.iter().filter(|byte| **byte == b'\n').count() as u64;
                writer.get_ref().expect_room(self.got.len() as u64)?;
                writer.add(&format!("{}{piece:06}", manifest::STORE), &self.got)?;
                self.got.clear();
            }
            if !is_more {
                break;
            }
        }
        if found != wanted {
            bail!("read the memory from the controller: it gave {found} entries of {wanted}");
        }
        Ok(())
    }
}
