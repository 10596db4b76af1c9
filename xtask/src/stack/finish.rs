//! The second step: the user, the static file server, the host's trust; then off with what no app needs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Recipe, trust};
use crate::program::{self, say};

/// The user apps run as.
const USER_ID: u32 = 1000;

/// Folders whose content is only of use to the machine that made the image.
const EMPTIED: [&str; 6] =
    ["var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log", "tmp", "run"];

/// What a file of the host leaks into the image; Docker mounts its own.
const HOST_FILES: [&str; 2] = ["etc/hostname", "etc/resolv.conf"];

/// Where mmdebstrap wrote the APT options it was given.
const APT_OPTIONS: &str = "etc/apt/apt.conf.d/99mmdebstrap";

/// Turns a fresh Debian folder into the stack.
pub fn finish(recipe: &Recipe, root: &Path) -> Result<()> {
    say("  Stack image: user, trust and trimming");
    add_user(root).context("add the user `app`")?;
    add_server(recipe, root).context("add the static file server")?;
    trust::add(&recipe.bundle, root).context("add the host's certificates")?;
    forget_proxies(&root.join(APT_OPTIONS)).context("remove the host's proxy from the image")?;
    for path in recipe.list("remove")? {
        remove(&root.join(path.trim_start_matches('/')))?;
    }
    for folder in EMPTIED {
        empty(&root.join(folder))?;
    }
    for file in HOST_FILES {
        fs::write(root.join(file), "")?;
    }
    Ok(())
}

/// Runs one of the image's own programs inside it.
pub fn inside(root: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("chroot");
    command
        .arg(root)
        .args(arguments)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8");
    program::read(&mut command).map(drop)
}

fn add_user(root: &Path) -> Result<()> {
    let id = USER_ID.to_string();
    inside(
        root,
        &[
            "useradd",
            "--uid",
            &id,
            "--user-group",
            "--create-home",
            "--home-dir",
            "/home/app",
            "--shell",
            "/bin/bash",
            "app",
        ],
    )?;
    let folder = root.join("app");
    fs::create_dir(&folder)?;
    chown(folder, Some(USER_ID), Some(USER_ID))?;
    Ok(())
}

fn add_server(recipe: &Recipe, root: &Path) -> Result<()> {
    let program = root.join("usr/local/bin/serve-static");
    fs::copy(recipe.folder.join("serve-static"), &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A proxy's address may hold a password, and every app could read it.
fn forget_proxies(options: &Path) -> Result<()> {
    let text = fs::read_to_string(options)?;
    let kept: String = text
        .lines()
        .filter(|line| !line.contains("Proxy"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(options, kept)?;
    Ok(())
}

fn empty(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read `{}`", folder.display()))? {
        remove(&entry?.path())?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let result = match path.is_dir() && !path.is_symlink() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    result.with_context(|| format!("remove `{}`", path.display()))
}
