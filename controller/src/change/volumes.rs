//! Volumes: made, mounted, destroyed. None of it makes a release; units of a type that mounts others are replaced.

use std::collections::{BTreeMap, BTreeSet};

use model::app::App;
use model::name::{MountPath, ProcessType, VolumeName};
use model::volume::Volume;

use super::{Asked, Decision, Next, Refusal, require_known};

/// The most volumes of one app.
const MAX_VOLUMES: usize = 20;

/// The app with one more volume.
pub fn create(app: &App, name: &VolumeName, volume: Volume) -> Result<App, Refusal> {
    if app.volumes.contains_key(name) {
        return Err(Refusal::VolumeExists(name.clone()));
    }
    if app.volumes.len() >= MAX_VOLUMES {
        return Err(Refusal::TooManyVolumes(MAX_VOLUMES));
    }
    let mut app = app.clone();
    app.volumes.insert(name.clone(), volume);
    Ok(app)
}

/// The app without a volume that nothing mounts, and that volume.
pub fn destroy(app: &App, name: &VolumeName) -> Result<(App, Volume), Refusal> {
    let mut app = app.clone();
    let volume = app.volumes.remove(name).ok_or_else(|| Refusal::UnknownVolume(name.clone()))?;
    if !volume.mounts.is_empty() {
        let types = volume.mounts.keys().map(ToString::to_string).collect();
        return Err(Refusal::Mounted { volume: name.clone(), types });
    }
    Ok((app, volume))
}

/// Where types mount a volume; none: they no longer do. Their units are replaced.
pub fn mount(
    asked: Asked<'_>,
    name: &VolumeName,
    patches: &BTreeMap<ProcessType, Option<MountPath>>,
) -> Decision {
    asked.refuse_busy()?;
    if patches.is_empty() {
        return Err(Refusal::Nothing("mount"));
    }
    let mut app = asked.app.clone();
    let unknown = || Refusal::UnknownVolume(name.clone());
    let volume = app.volumes.get_mut(name).ok_or_else(unknown)?;
    let before = volume.mounts.clone();
    for (process, path) in patches {
        match path {
            Some(path) => {
                check(asked, process)?;
                volume.mounts.insert(process.clone(), path.clone());
            }
            None => drop(volume.mounts.remove(process)),
        }
    }
    let after = &app.volumes[name].mounts;
    let changed = patches.keys().filter(|process| before.get(*process) != after.get(*process));
    let changed: Vec<&ProcessType> = changed.collect();
    if changed.is_empty() {
        return Ok(None);
    }
    for process in changed {
        fit_together(&app, process)?;
        if let Some(scale) = app.formation.get_mut(process) {
            scale.epoch += 1;
            scale.changed = asked.now;
        }
    }
    app.generation += 1;
    Ok(Some(Next { app, release: None }))
}

/// Before the first push any type may be named, so that its first units have what they need.
fn check(asked: Asked<'_>, process: &ProcessType) -> Result<(), Refusal> {
    if process.is_release() {
        return Err(Refusal::ReleasePhase);
    }
    match asked.build() {
        Some(build) => require_known(process, &build.processes.keys().collect()),
        None => Ok(()),
    }
}

/// A unit is on one node and mounts one volume at one place.
fn fit_together(app: &App, process: &ProcessType) -> Result<(), Refusal> {
    let nodes: BTreeSet<_> = app.volumes_of(process).map(|(_, volume)| &volume.node).collect();
    if nodes.len() > 1 {
        let volumes = app.volumes_of(process);
        let volumes = volumes.map(|(name, volume)| format!("`{name}` is on {}", volume.node));
        return Err(Refusal::Apart { process: process.clone(), volumes: volumes.collect() });
    }
    let mut paths = BTreeSet::new();
    for (_, volume) in app.volumes_of(process) {
        let path = &volume.mounts[process];
        if !paths.insert(path) {
            return Err(Refusal::PathTaken { process: process.clone(), path: path.clone() });
        }
    }
    Ok(())
}
