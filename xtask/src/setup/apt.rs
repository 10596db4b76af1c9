//! Debian packages: which are missing, how they are installed, and what the host's own APT configuration says.

pub mod sources;

mod policy;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program;

/// A package and how we know that it, or something as good, is here.
#[derive(Clone, Copy)]
pub struct Package {
    /// Its name in Debian.
    pub name: &'static str,
    provides: Provides,
}

#[derive(Clone, Copy)]
enum Provides {
    Program(&'static str),
    File(&'static str),
}

/// Services that packages of ours bring along and that must not run by themselves: we start our own.
const UNWANTED_SERVICES: [(&str, &str); 1] = [("etcd-server", "etcd.service")];

/// How long to wait for another `apt-get`, such as the machine's own upgrades after boot.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

impl Package {
    /// A package needed for a program.
    pub const fn with_program(name: &'static str, program: &'static str) -> Self {
        Self { name, provides: Provides::Program(program) }
    }

    /// A package needed for a file.
    pub const fn with_file(name: &'static str, file: &'static str) -> Self {
        Self { name, provides: Provides::File(file) }
    }

    /// Whether what it provides is absent.
    pub fn is_missing(&self) -> bool {
        match self.provides {
            Provides::Program(program) => program::find(program).is_none(),
            Provides::File(file) => !Path::new(file).exists(),
        }
    }
}

/// Installs packages; of the services they bring, only Docker under systemd is started.
pub fn install(packages: &[Package]) -> Result<()> {
    let policy = policy::hold_services().context("keep services from starting")?;
    program::quiet("Reading the package lists", apt_get().arg("update"))?;
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    let title = format!("Installing {} package(s)", names.len());
    program::quiet(
        &title,
        apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&names),
    )?;
    drop(policy);
    for (package, service) in UNWANTED_SERVICES {
        if names.contains(&package) && Path::new("/run/systemd/system").exists() {
            program::quiet(
                &format!("Disabling {service}"),
                Command::new("systemctl").args(["disable", service]),
            )?;
        }
    }
    Ok(())
}

/// The host's settings for reaching package archives, as `Key "value";` lines.
pub fn options() -> Result<Vec<String>> {
    let dump = program::read(Command::new("apt-config").arg("dump"))?;
    Ok(dump.lines().filter(|line| is_transport_option(line)).map(str::to_owned).collect())
}

fn is_transport_option(line: &str) -> bool {
    const KEPT: [&str; 6] = [
        "Acquire::http::",
        "Acquire::https::",
        "Acquire::Check-Valid-Until ",
        "Acquire::Check-Date ",
        "Acquire::Retries ",
        "Acquire::ForceIPv4 ",
    ];
    KEPT.iter().any(|prefix| line.starts_with(prefix)) && !line.ends_with(" \"\";")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-o",
        LOCK_TIMEOUT,
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reaches_the_archive_is_taken_from_the_host() {
        assert!(is_transport_option("Acquire::http::Proxy \"http://cache.lan:3142\";"));
        assert!(is_transport_option("Acquire::Check-Date \"false\";"));
        assert!(!is_transport_option("Acquire::http::Proxy \"\";"));
        assert!(!is_transport_option("Acquire::Languages:: \"none\";"));
        assert!(!is_transport_option("DPkg::Post-Invoke:: \"rm -rf x\";"));
    }
}
