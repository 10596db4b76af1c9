//! `clusterctl restore`: begins a cluster anew on this machine with everything a backup holds.
//!
//! The file is read to its end before anything is written. Then: keys, certificates and settings; the images, into a registry
//! that runs alone; the entries, as the seed the controller begins its memory with; and everything is started. Nothing of
//! the nodes that were is obeyed or obeys: the new node's certificates carry a mark of their own, the others are out of the
//! cluster, and its memory is a later incarnation.

mod running_registry;
pub mod unfinished;

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use proto::{
    api::NewJoinToken,
    dump::{self, Seed},
};
use rand::Rng;
use service::durable::{PRIVATE, PUBLIC, create_private_dir, free_bytes, write_atomically};
use service::identity::{CA_FILE, CA_KEY_FILE};

use super::{
    backup::{
        archive::{Reader, hex},
        check::{self, Checked},
        images, manifest,
    },
    choices::{Choices, Wishes},
    init,
    layout::Layout,
    preflight::{self, Intent, MIN_FREE_BYTES},
    provision::{host_name, provision},
    several::Several,
    up,
};
use crate::output;
use running_registry::RunningRegistry;
use unfinished::Unfinished;

/// What was asked for.
pub struct Restore {
    /// Where the cluster shall be.
    pub layout: Layout,
    /// What is to be chosen differently from what the backup says.
    pub wishes: Wishes,
    /// The backup.
    pub file: PathBuf,
    /// The address at which other nodes reach this one, if there shall be others.
    pub address: Option<IpAddr>,
    /// Whether it shall be of this machine alone.
    pub single: bool,
}

/// Begins the cluster, or says why it cannot be; then nothing was written.
pub async fn restore(restore: Restore) -> anyhow::Result<ExitCode> {
    let layout = &restore.layout;
    let shown = restore.file.display();
    if unfinished::clear(layout).context("clear what a restore left that was cut off")? {
        output::line("What a restore left here that was cut off is removed.");
    }
    if layout.seed().exists() {
        bail!(
            "restore into `{}`: a restore was prepared there, but not started. `clusterctl up{}` goes on with it",
            layout.data.display(),
            up::data_flag(layout)
        );
    }
    if !is_empty(&layout.data) {
        bail!(
            "restore into `{}`: it is not empty. A restore begins a cluster on a machine that has none; use another machine or another --data, or first `clusterctl down --wipe`",
            layout.data.display()
        );
    }
    let checked = check::read(check::open(&restore.file)?)
        .with_context(|| format!("use `{shown}` as a backup; nothing was written"))?;
    let choices = choices(&restore, &checked)?;
    let programs = up::programs_folder()?;
    let problems = problems(&restore, &choices, &programs).await?;
    if !problems.is_empty() {
        return Ok(up::refuse(&problems));
    }
    output::line(format_args!("Restoring {}.", checked.manifest.words()));
    if let Err(error) = prepare(&restore, &choices, &checked, &programs).await {
        // It was empty, and nothing of it ran yet.
        let _ = fs::remove_dir_all(&layout.data);
        return Err(error).context("prepare the node; what was written is removed again");
    }
    let wishes = Wishes::default();
    let code = up::up(up::Up { layout: layout.clone(), wishes, demo: None }).await?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    tell(&choices, &checked);
    if choices.several.is_some() {
        output::line("");
        return init::create_token(layout, &NewJoinToken::default(), false).await;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_empty(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The domain and the ports are the cluster's, the rest is this machine's.
fn choices(restore: &Restore, checked: &Checked) -> anyhow::Result<Choices> {
    let before = &checked.manifest.choices;
    if before.several.is_some() && restore.address.is_none() && !restore.single {
        bail!(
            "know which kind of cluster it shall be: this backup is of one of several nodes. Add `--address IP`, at which other nodes will reach this one, or `--single`"
        );
    }
    let fresh = Choices::new(&restore.layout, &host_name());
    let chosen = Choices {
        domain: before.domain.clone(),
        ports: before.ports.clone(),
        admission: admission(),
        ..fresh
    };
    let chosen = chosen.with(&restore.wishes);
    let several = restore.address.map(|address| {
        Several::first(&checked.manifest.cluster, address, &chosen.node, chosen.ports.base)
    });
    Ok(Choices { several, ..chosen })
}

/// A mark that the certificates of no earlier node carry.
fn admission() -> String {
    let mut mark = [0; 6];
    rand::rng().fill_bytes(&mut mark);
    hex(&mark)
}

async fn problems(
    restore: &Restore,
    choices: &Choices,
    programs: &Path,
) -> anyhow::Result<Vec<String>> {
    let layout = &restore.layout;
    let intent = Intent { layout, choices, saved: None, programs, running: &[], demo: None };
    let mut problems = preflight::problems(&intent).await;
    let bytes = fs::metadata(&restore.file).context("look at the backup")?.len();
    let above = layout.data.ancestors().find(|folder| folder.is_dir());
    let free = free_bytes(above.unwrap_or(Path::new("/"))).context("look at the free space")?;
    if free < bytes.saturating_add(MIN_FREE_BYTES) {
        problems.push(format!(
            "{} MiB are free for `{}`, and {} are needed. Free some, or use another --data.",
            free >> 20,
            layout.data.display(),
            bytes.saturating_add(MIN_FREE_BYTES) >> 20
        ));
    }
    Ok(problems)
}

async fn prepare(
    restore: &Restore,
    choices: &Choices,
    checked: &Checked,
    programs: &Path,
) -> anyhow::Result<()> {
    let layout = &restore.layout;
    create_private_dir(&layout.data)?;
    let unfinished = Unfinished::begin(layout)?;
    for folder in [layout.authority(), layout.program("controller"), layout.program("builder")] {
        create_private_dir(&folder)?;
    }
    let seed = Seed {
        version: dump::VERSION,
        source: checked.fingerprint.clone(),
        entries: checked.manifest.entries,
        node: choices.node.clone(),
        admission: choices.admission.clone(),
        registry: format!("127.0.0.1:{}", choices.ports.registry),
    };
    let mut reader = Reader::new(check::open(&restore.file)?);
    let mut entries = SeedFile::begin(&layout.seed(), &seed)?;
    let mut registry = None;
    while let Some(begun) = reader.next()? {
        let name = begun.name.as_str();
        if let Some((path, mode)) = place(layout, name) {
            write_atomically(&path, &reader.content(&begun)?, mode)?;
        } else if name.starts_with(manifest::STORE) {
            entries.add(&reader.content(&begun)?)?;
        } else if name.starts_with(manifest::IMAGES) {
            // Everything it needs stands before the images.
            let running = match registry.take() {
                Some(running) => running,
                None => {
                    provision(layout, choices, programs).context("make keys and settings")?;
                    RunningRegistry::start(layout, choices, programs).await?
                }
            };
            images::load(&running.registry, &mut reader, &begun)
                .await
                .context("put an image into the registry")?;
            registry = Some(running);
        }
    }
    if reader.fingerprint() != Some(&checked.fingerprint) {
        bail!("read the backup again: it has changed meanwhile");
    }
    entries.keep()?;
    registry.map_or(Ok(()), RunningRegistry::stop)?;
    provision(layout, choices, programs).context("make keys and settings")?;
    unfinished.end()
}

/// Where a key belongs.
fn place(layout: &Layout, name: &str) -> Option<(PathBuf, u32)> {
    match name {
        manifest::SEAL_KEY => Some((layout.seal_key(), PRIVATE)),
        manifest::CA_PEM => Some((layout.authority().join(CA_FILE), PUBLIC)),
        manifest::CA_KEY => Some((layout.authority().join(CA_KEY_FILE), PRIVATE)),
        manifest::HOST_KEY => Some((layout.host_key(), PRIVATE)),
        _ => None,
    }
}

/// The entries on their way to the controller; they have their name only when they are whole.
struct SeedFile {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl SeedFile {
    fn begin(path: &Path, seed: &Seed) -> anyhow::Result<SeedFile> {
        let partial = path.with_extension("partial");
        write_atomically(&partial, b"", PRIVATE)?;
        let file = File::options().append(true).open(&partial);
        let mut file = BufWriter::new(file.context("write the entries")?);
        serde_json::to_writer(&mut file, seed)?;
        file.write_all(b"\n")?;
        Ok(SeedFile { file, partial, path: path.to_owned() })
    }

    fn add(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(lines).context("write the entries")
    }

    fn keep(mut self) -> anyhow::Result<()> {
        self.file.flush().context("write the entries")?;
        self.file.get_ref().sync_all().context("write the entries")?;
        fs::rename(&self.partial, &self.path).context("write the entries")
    }
}

fn tell(choices: &Choices, checked: &Checked) {
    output::line(format_args!(
        "\nThe cluster begins anew on `{}`; its apps are being started. `paasctl` works as before where it is pointed at {}.",
        choices.node,
        choices.api_url()
    ));
    output::line(
        "The nodes that were are no part of it: what still runs there goes on unheard. Switch them off, or `clusterctl down --wipe` and join them anew.",
    );
    if checked.manifest.images.is_none() {
        output::line(
            "The backup has no images: each app runs when it has been pushed again, and its git history begins anew.",
        );
    }
    for image in &checked.missing {
        output::line(format_args!("The backup lacks `{}`: push it again.", image.repository));
    }
}
