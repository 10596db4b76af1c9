//! `clusterctl certs`: the certificates of this node and how long they hold. `certs:rotate` replaces them while everything runs.

mod renewal;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use service::identity::{CA_FILE, CERT_FILE, KEY_FILE};

use super::{
    certificate::Certificate,
    choices::Choices,
    etcd::Side,
    layout::{ETCD, Layout},
    provision::{Which, saved_choices},
    several::Several,
};
use crate::output;

pub use renewal::{keep_renewed, renew};

/// A certificate of this node.
pub struct Held {
    /// The part's name, or `api`, `platform`, `store-peer`, `store-client`.
    pub name: String,
    /// Its folder.
    folder: PathBuf,
    /// Its file.
    pub path: PathBuf,
}

impl Held {
    fn new(name: impl Into<String>, folder: PathBuf, file: &str) -> Held {
        Held { name: name.into(), path: folder.join(file), folder }
    }

    /// The file of its key.
    fn key(&self) -> PathBuf {
        self.folder.join(KEY_FILE)
    }

    /// The file of a key whose certificate is not there yet.
    fn next_key(&self) -> PathBuf {
        self.key().with_extension("next")
    }
}

/// All that end and are renewed.
pub fn held(layout: &Layout, choices: &Choices) -> Vec<Held> {
    let programs = choices.programs().into_iter().filter(|program| *program != ETCD);
    let part = |name: &str| Held::new(name, layout.identity(name), CERT_FILE);
    let mut held: Vec<Held> = programs.map(|program| part(program.name)).collect();
    held.push(Held::new("platform", layout.platform(), "chain.pem"));
    let several = choices.several.as_ref();
    if several.is_none_or(|several| several.control) {
        held.push(part("api"));
    }
    if several.is_some_and(|several| several.control) {
        let sides = [Side::Peer, Side::Client];
        held.extend(sides.map(|side| Held::new(side.request(), side.folder(layout), CERT_FILE)));
    }
    held
}

/// The authority all parts trust.
pub fn authority(layout: &Layout) -> PathBuf {
    layout.identity("agent").join(CA_FILE)
}

#[derive(Serialize)]
struct Row {
    name: String,
    ends: Option<Timestamp>,
    days_left: Option<i64>,
    /// What keeps it from being read.
    error: Option<String>,
}

/// Lists them. Exit code 1 when one has ended or cannot be read.
pub fn list(layout: &Layout, json: bool) -> anyhow::Result<ExitCode> {
    let choices = chosen(layout)?;
    let held = held(layout, &choices).into_iter().map(|held| (held.name, held.path));
    let all = held.chain([("authority".to_owned(), authority(layout))]);
    let rows: Vec<Row> = all.map(|(name, path)| row(name, &path)).collect();
    let is_well = rows.iter().all(|row| row.days_left.is_some_and(|days| days >= 0));
    if json {
        output::json(&rows)?;
    } else {
        let headers = ["CERTIFICATE", "DAYS LEFT", "ENDS"];
        output::table(&headers, rows.iter().map(cells).collect());
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(name: String, path: &std::path::Path) -> Row {
    match Certificate::read(path) {
        Ok(it) => Row { name, ends: Some(it.ends), days_left: Some(it.days_left()), error: None },
        Err(error) => Row { name, ends: None, days_left: None, error: Some(error.to_string()) },
    }
}

fn cells(row: &Row) -> Vec<String> {
    let days = row.days_left.map_or_else(|| "-".to_owned(), |days| days.to_string());
    let ends = row.ends.map_or_else(|| row.error.clone().unwrap_or_default(), |at| at.to_string());
    vec![row.name.clone(), days, ends]
}

/// Replaces all of them, keys included.
pub async fn rotate(layout: &Layout) -> anyhow::Result<ExitCode> {
    let choices = chosen(layout)?;
    let renewed = renew(layout, &choices, Which::All).await.context("rotate the certificates")?;
    output::line(format_args!("New certificates: {}.", renewed.join(", ")));
    output::line(
        "Programs use them from their next connection on; connections that are open go on.",
    );
    Ok(ExitCode::SUCCESS)
}

fn chosen(layout: &Layout) -> anyhow::Result<Choices> {
    let choices = saved_choices(layout).context("read the choices of this cluster")?;
    choices.with_context(|| {
        format!("find a cluster in `{}`; name its folder with --data", layout.data.display())
    })
}

/// Whether this node has the authorities' keys. Others have what controllers sign for them.
fn signs_itself(several: Option<&Several>) -> bool {
    several.is_none_or(|several| several.began_here)
}
