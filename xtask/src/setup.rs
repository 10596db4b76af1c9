//! Brings a bare Debian machine to where Trireme can be built and run: look, check, say, then change.
//!
//! Everything that could stop it is found before the first change. Running it again costs a fraction of a second.

pub mod apt;
pub mod engine;

mod check;
mod docker_host;
mod ports;

use std::fs::{self, File, TryLockError};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::program::say;
use crate::stack;
use apt::Package;

/// What the work after set-up needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Running a cluster on this machine; `check_ports` when it will listen where it does by default.
    Run {
        /// Whether the default ports must be free.
        check_ports: bool,
    },
    /// Every test.
    Test,
    /// Measuring, with the peers we are measured against.
    Bench,
}

/// Only one set-up changes the machine at a time.
const LOCK: &str = "/run/trireme-setup.lock";

const BASE: [Package; 10] = [
    Package::with_program("gcc", "cc"),
    Package::with_program("protobuf-compiler", "protoc"),
    // protoc's own .proto files, which the etcd client's imports.
    Package::with_file("libprotobuf-dev", "/usr/include/google/protobuf/descriptor.proto"),
    Package::with_program("git", "git"),
    Package::with_program("openssh-client", "ssh"),
    Package::with_program("curl", "curl"),
    Package::with_file("ca-certificates", stack::HOST_BUNDLE),
    Package::with_program("iptables", "iptables"),
    Package::with_program("docker.io", "dockerd"),
    Package::with_program("mmdebstrap", "mmdebstrap"),
];
const TEST: [Package; 3] = [
    Package::with_program("etcd-server", "etcd"),
    // Completion is tried in the shells it is for.
    Package::with_program("fish", "fish"),
    Package::with_program("zsh", "zsh"),
];
const BENCH: [Package; 2] =
    [Package::with_program("wrk", "wrk"), Package::with_program("etcd-server", "etcd")];

/// Checks the machine and installs and starts what is missing.
pub fn run(purpose: Purpose) -> Result<()> {
    check::identity()?;
    let _lock = lock()?;
    let missing: Vec<Package> = packages(purpose).into_iter().filter(Package::is_missing).collect();
    let engine = engine::observe();
    let recipe = stack::Recipe::read().context("read the recipe of the stack image")?;
    let is_image_current = engine.is_answering() && recipe.is_imported();

    let is_image_stale = engine.is_answering() && !is_image_current;
    check::disk(!missing.is_empty() || is_image_stale)?;
    if !engine.is_answering() {
        docker_host::check()?;
    }
    if purpose == (Purpose::Run { check_ports: true }) {
        ports::check()?;
    }
    if missing.is_empty() && is_image_current {
        say("Machine is ready: packages, Docker Engine and stack image are here.");
        return Ok(());
    }

    announce(&missing, &engine, is_image_current);
    let started = Instant::now();
    if !missing.is_empty() {
        apt::install(&missing)?;
    }
    engine::start()?;
    // Read again: the packages may have brought the host's certificates only now.
    let recipe = stack::Recipe::read()?;
    if !recipe.is_imported() {
        recipe.import()?;
    }
    say(&format!("Machine is ready after {} s.", started.elapsed().as_secs()));
    Ok(())
}

/// Makes the stack image anew although its recipe did not change: its packages come with Debian's latest updates.
pub fn remake_stack() -> Result<()> {
    run(Purpose::Run { check_ports: false })?;
    let _lock = lock()?;
    stack::Recipe::read()?.import()
}

fn packages(purpose: Purpose) -> Vec<Package> {
    let extra: &[Package] = match purpose {
        Purpose::Run { .. } => &[],
        Purpose::Test => &TEST,
        Purpose::Bench => &BENCH,
    };
    BASE.iter().chain(extra).copied().collect()
}

fn announce(missing: &[Package], engine: &engine::Observed, is_image_current: bool) {
    say("Setting up this machine. This will:");
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
        say(&format!("  - install Debian packages: {}", names.join(", ")));
    }
    if let Some(intent) = engine.intent() {
        say(&format!("  - {intent}"));
    }
    if !is_image_current {
        say(&format!(
            "  - make the stack image `{}` from Debian packages, if it is not current",
            stack::IMAGE
        ));
    }
    say(&format!("Details go to {}.", crate::program::LOG));
}

fn lock() -> Result<File> {
    let file = File::create(LOCK).with_context(|| format!("create `{LOCK}`"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say("Another set-up is at work on this machine; waiting for it ...");
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock `{LOCK}`"));
        }
    }
    fs::create_dir_all("/var/log/trireme").context("create `/var/log/trireme`")?;
    Ok(file)
}
