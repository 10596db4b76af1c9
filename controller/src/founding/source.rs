//! What a store is filled from, read whole.

use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::incarnation::Incarnation;
use model::node::NodeSpec;
use model::time::Time;
use proto::dump::{self, Seed};
use service::Clock;
use store::{EmbeddedStore, Entry, Listing, Revision, Store};

use super::what::{begun_anew, find, first_node, moves};
use crate::incarnation::Life;
use crate::records::{Document, encode};

/// Entries for a store, and where they are from.
pub(super) struct Source {
    /// The same whenever it is read.
    pub(super) name: String,
    /// For whoever asks later how this store began.
    pub(super) story: String,
    /// The incarnation the entries are of.
    pub(super) above: Incarnation,
    /// Keys and values.
    pub(super) entries: Vec<(String, Bytes)>,
}

/// The memory of a machine alone.
pub(super) async fn of_file(store: &EmbeddedStore) -> anyhow::Result<Source> {
    let listing = store.list("").await?;
    let above = incarnation(&listing)?;
    let entries = listing.entries.into_iter().filter(moves);
    Ok(Source {
        name: format!("moved from {above}"),
        story: format!("moved from the file of one machine, incarnation {above}"),
        above,
        entries: entries.map(|entry| (entry.key, entry.value)).collect(),
    })
}

/// A backup. Blocks while it reads.
pub(super) async fn of_seed(path: &Path) -> anyhow::Result<Source> {
    let path = path.to_owned();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await??;
    parse(&text, Time(Clock::system().now_ms()))
}

fn parse(text: &str, now: Time) -> anyhow::Result<Source> {
    let mut lines = text.lines();
    let head = lines.next().context("find its first line")?;
    let seed: Seed = serde_json::from_str(head).context("understand its first line")?;
    if seed.version > dump::VERSION {
        bail!("understand it: a newer version of Trireme wrote it");
    }
    let entries: Vec<Entry> = lines.map(entry).collect::<anyhow::Result<_>>()?;
    if u64::try_from(entries.len()).ok() != Some(seed.entries) {
        bail!("read all of it: it has {} entries of {}", entries.len(), seed.entries);
    }
    let listing = Listing { entries, revision: Revision(0) };
    let above = incarnation(&listing)?;
    let own_key = format!("{}{}", NodeSpec::PREFIX, seed.node);
    let first = first_node(find(&listing, &own_key)?, &seed, now);
    let first = first.with_context(|| format!("name a node `{}`", seed.node))?;
    let entries = begun_anew(listing.entries, &seed, now)?.into_iter();
    let mut entries: Vec<(String, Bytes)> =
        entries.filter(|it| it.key != own_key).map(|it| (it.key, it.value)).collect();
    entries.push((own_key, encode(&first).into()));
    Ok(Source {
        name: format!("backup {} on {} {}", seed.source, seed.node, seed.admission),
        story: format!("restored from backup {}, incarnation {above}", seed.source),
        above,
        entries,
    })
}

fn entry(line: &str) -> anyhow::Result<Entry> {
    let entry: dump::Entry = serde_json::from_str(line).context("understand a line")?;
    let value = STANDARD.decode(&entry.value).context("understand a value")?;
    let nowhere = Revision(0);
    Ok(Entry { key: entry.key, value: value.into(), created: nowhere, modified: nowhere })
}

fn incarnation(listing: &Listing) -> anyhow::Result<Incarnation> {
    let life = find::<Life>(listing, Life::PREFIX)?;
    Ok(life.context("find the incarnation")?.incarnation())
}
