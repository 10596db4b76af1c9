//! The third step: the folder becomes an image of the Docker Engine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{IMAGE, KEY_LABEL, Recipe};
use crate::program;
use crate::setup::engine::client as docker;

/// Streams the folder into the engine and drops the image that had the name before, where nothing uses it.
pub fn import(recipe: &Recipe, root: &Path) -> Result<()> {
    let previous = image_id();
    let mut tar = Command::new("tar")
        .arg("--directory")
        .arg(root)
        .args(["--create", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*"])
        // Docker makes the devices itself.
        .args(["--exclude=./dev/*", "."])
        .stdout(Stdio::piped())
        .spawn()
        .context("start `tar`")?;
    let stream = tar.stdout.take().expect("the output was asked for as a pipe");

    let mut changes = recipe.list("image")?;
    changes.push(format!("LABEL {KEY_LABEL}={}", recipe.key));
    let mut docker_import = docker()?;
    docker_import
        .arg("import")
        .args(changes.iter().flat_map(|change| ["--change", change]))
        .args(["-", IMAGE]);
    docker_import.stdin(stream).stdout(Stdio::null());
    let child = docker_import.spawn().context("start `docker import`")?;
    // Holds the pipe's other end; with it open, an end of docker would leave tar waiting.
    drop(docker_import);
    program::watch("Stack image: importing it into Docker", child).context("`docker import`")?;
    if !tar.wait()?.success() {
        bail!("`tar` failed while packing the stack image");
    }
    if let Some(previous) = previous.filter(|previous| Some(previous) != image_id().as_ref()) {
        // Refused while an app's image is built on it: then it goes with the last of them.
        let _ = program::read(docker()?.args(["image", "rm", &previous]));
    }
    Ok(())
}

fn image_id() -> Option<String> {
    let id = program::read(docker().ok()?.args(["image", "inspect", "--format", "{{.Id}}", IMAGE]))
        .ok()?;
    Some(id.trim().to_owned())
}
