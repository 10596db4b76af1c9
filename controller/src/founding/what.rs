//! What of a memory goes where: which images it relies on, and what of a backup is true of the cluster that begins with it.

use std::collections::BTreeSet;

use model::app::App;
use model::node::{Addresses, Duty, NodeSpec};
use model::release::Release;
use model::time::Time;
use model::volume::Doomed;
use proto::dump::{Image, Seed};
use store::{Entry, Listing};

use super::Founding;
use crate::admission::Authorities;
use crate::history::{History, repository};
use crate::incarnation::Life;
use crate::records::{Document, ReadError, decode, encode};

/// What is of the cluster that was: its units, who led and built there, who might join, what its nodes had to let go of, the
/// authorities of its etcd. And its incarnation, which the next one follows.
const OF_THE_OLD: [&str; 9] = [
    "units/",
    "leader",
    "beat",
    "builds/",
    "joins/",
    "leftovers/",
    Doomed::PREFIX,
    Authorities::PREFIX,
    Founding::PREFIX,
];

/// What only says who leads where it stands: it does not move.
const OF_THE_PLACE: [&str; 3] = ["leader", "beat", Founding::PREFIX];

/// The one document at a key.
pub fn find<T: Document>(listing: &Listing, key: &str) -> Result<Option<T>, ReadError> {
    let entry = listing.entries.iter().find(|entry| entry.key == key);
    entry.map(|entry| decode(entry).map(|it| it.value)).transpose()
}

/// The images of releases that are in force or on their way to be, and the git histories.
pub fn images_in_force(listing: &Listing) -> Result<Vec<Image>, ReadError> {
    let apps: Vec<App> = all(&listing.entries)?;
    let releases: Vec<Release> = all(&listing.entries)?;
    let histories: Vec<History> = all(&listing.entries)?;
    let mut images = BTreeSet::new();
    for app in apps.iter().filter(|app| app.destroyed.is_none()) {
        let target = app.target.as_ref().map(|target| target.release);
        let in_force = releases.iter().filter(|release| {
            release.app == app.name && [app.current, target].contains(&Some(release.number))
        });
        let builds = in_force.filter_map(|release| release.build.as_ref());
        let digests = builds.filter_map(|build| build.image.split_once('@'));
        images.extend(digests.map(|(_, digest)| Image {
            repository: app.name.to_string(),
            digest: digest.to_owned(),
        }));
        let own = histories.iter().filter(|it| it.app == app.name && it.app_created == app.created);
        images.extend(own.map(|history| Image {
            repository: repository(&app.name),
            digest: history.manifest.clone(),
        }));
    }
    Ok(images.into_iter().collect())
}

fn all<T: Document>(entries: &[Entry]) -> Result<Vec<T>, ReadError> {
    let of_kind = entries.iter().filter(|entry| entry.key.starts_with(T::PREFIX));
    of_kind.map(|entry| decode(entry).map(|it| it.value)).collect()
}

/// Whether an entry goes along when the memory moves to another place.
pub(super) fn moves(entry: &Entry) -> bool {
    entry.key != Life::PREFIX && !OF_THE_PLACE.iter().any(|prefix| entry.key.starts_with(prefix))
}

/// What of a backup is true of the cluster that begins anew on one node: users, apps, releases and all they own, images
/// named as that node names them, and no node but that one.
pub(super) fn begun_anew(
    entries: Vec<Entry>,
    seed: &Seed,
    now: Time,
) -> Result<Vec<Entry>, ReadError> {
    let mut kept = Vec::new();
    for mut entry in entries {
        let key = &entry.key;
        if key == Life::PREFIX || OF_THE_OLD.iter().any(|prefix| key.starts_with(prefix)) {
            continue;
        }
        if key.starts_with(Release::PREFIX) {
            let mut release = decode::<Release>(&entry)?.value;
            if let Some(build) = &mut release.build {
                build.image = named_at(&build.image, &seed.registry);
            }
            entry.value = encode(&release).into();
        } else if key.starts_with(NodeSpec::PREFIX) {
            let known = decode::<NodeSpec>(&entry)?.value;
            let duty = Duty::Removed { at: now };
            entry.value = encode(&NodeSpec { duty, ..known }).into();
        }
        kept.push(entry);
    }
    Ok(kept)
}

/// The node a cluster begins anew on; an earlier one of the name leaves it its labels.
pub(super) fn first_node(known: Option<NodeSpec>, seed: &Seed, now: Time) -> Option<NodeSpec> {
    Some(NodeSpec {
        name: seed.node.parse().ok()?,
        addresses: Addresses::default(),
        labels: known.map(|known| known.labels).unwrap_or_default(),
        duty: Duty::Open,
        joined: now,
        admission: seed.admission.clone(),
    })
}

fn named_at(image: &str, registry: &str) -> String {
    match image.split_once('/') {
        Some((_, name)) => format!("{registry}/{name}"),
        None => image.to_owned(),
    }
}
