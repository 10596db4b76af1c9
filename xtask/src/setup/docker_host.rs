//! Can a Docker Engine run on this kernel, and with the rights this root has?

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

/// Bits of the effective capability set, as `linux/capability.h` numbers them.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Controllers without which limits of units cannot be kept.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Fails with what Docker would miss here.
pub fn check() -> Result<()> {
    let status = read("/proc/self/status");
    if !has_capability(&status, CAP_SYS_ADMIN) || !has_capability(&status, CAP_NET_ADMIN) {
        bail!(
            "Docker cannot run here: this root lacks CAP_SYS_ADMIN or CAP_NET_ADMIN, as in an unprivileged container. Use a machine \
             or a virtual machine, start the container with `--privileged`, or share a Docker socket as `/var/run/docker.sock`"
        );
    }
    if let Some(missing) =
        missing_controller(&read("/sys/fs/cgroup/cgroup.controllers"), &read("/proc/cgroups"))
    {
        bail!(
            "Docker cannot run here: the kernel has no `{missing}` cgroup controller. Add `cgroup_enable={missing}` to the kernel's \
             command line, or use another kernel"
        );
    }
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
        && !Path::new("/sys/fs/cgroup/memory").exists()
    {
        bail!(
            "Docker cannot run here: no cgroups are mounted. Mount them: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`"
        );
    }
    if !has_overlayfs() {
        bail!(
            "Docker cannot run here: the kernel has no overlayfs. Use a kernel with `overlay`, such as Debian's own"
        );
    }
    if !has_netfilter() {
        bail!(
            "Docker cannot run here: the kernel has no netfilter tables for iptables. Use a kernel with them, such as Debian's own"
        );
    }
    Ok(())
}

fn has_overlayfs() -> bool {
    read("/proc/filesystems")
        .lines()
        .any(|line| line.trim_start_matches("nodev").trim() == "overlay")
        || has_module("overlay")
}

fn has_netfilter() -> bool {
    Path::new("/proc/net/ip_tables_names").exists()
        || Path::new("/proc/sys/net/netfilter").exists()
        || has_module("nf_tables")
        || has_module("ip_tables")
}

/// Whether the running kernel can load this module or has it built in.
fn has_module(name: &str) -> bool {
    let release = read("/proc/sys/kernel/osrelease");
    let folder = Path::new("/lib/modules").join(release.trim());
    let lists = ["modules.dep", "modules.builtin"]
        .map(|list| fs::read_to_string(folder.join(list)).unwrap_or_default());
    lists.iter().any(|list| lists_module(list, name))
}

fn lists_module(list: &str, name: &str) -> bool {
    let file = format!("/{name}.ko");
    list.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains(&file)))
}

fn has_capability(status: &str, bit: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    set & (1 << bit) != 0
}

/// The first controller that neither the unified hierarchy nor the list of enabled ones has.
fn missing_controller(unified: &str, enabled: &str) -> Option<&'static str> {
    let in_unified = |name: &str| unified.split_whitespace().any(|controller| controller == name);
    let is_enabled = |name: &str| {
        enabled.lines().any(|line| {
            line.split_whitespace().next() == Some(name) && line.trim_end().ends_with('1')
        })
    };
    CONTROLLERS.into_iter().find(|name| !in_unified(name) && !is_enabled(name))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_an_unprivileged_container_is_recognised() {
        let whole = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        let container = "Name:\tx\nCapEff:\t00000000a80425fb\n";
        assert!(has_capability(whole, CAP_SYS_ADMIN) && has_capability(whole, CAP_NET_ADMIN));
        assert!(
            !has_capability(container, CAP_SYS_ADMIN) && !has_capability(container, CAP_NET_ADMIN)
        );
        assert!(!has_capability("", CAP_SYS_ADMIN));
    }

    #[test]
    fn a_controller_counts_in_either_hierarchy() {
        let old = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t4\t1\t0\npids\t8\t1\t1\n";
        assert_eq!(missing_controller("", old), Some("memory"));
        assert_eq!(missing_controller("memory", old), None);
        assert_eq!(missing_controller("cpuset cpu io memory pids", ""), None);
        assert_eq!(missing_controller("", ""), Some("cpu"));
    }

    #[test]
    fn modules_are_found_loadable_or_built_in() {
        assert!(lists_module("kernel/fs/overlayfs/overlay.ko: kernel/lib/x.ko\n", "overlay"));
        assert!(lists_module("kernel/fs/overlayfs/overlay.ko\n", "overlay"));
        assert!(!lists_module("kernel/fs/y.ko: kernel/fs/overlayfs/overlay.ko\n", "overlay"));
    }
}
