//! What this machine has: memory, processors, disk.

use std::{io, thread};

use service::Size;

/// At least so much memory is kept from units by default.
const MIN_RESERVE: u64 = 512 << 20;
/// And at least this part of it.
const RESERVE_SHARE: u64 = 10;

/// Memory that units may use in all.
pub fn capacity_bytes(reserve: Option<Size>) -> io::Result<u64> {
    let total = total_memory(&std::fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| io::Error::other("`/proc/meminfo` has no line `MemTotal`"))?;
    Ok(after_reserve(total, reserve))
}

/// Processors in thousandths of a core.
pub fn cpu_millis() -> u32 {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX).saturating_mul(1_000)
}

fn after_reserve(total: u64, reserve: Option<Size>) -> u64 {
    let reserve = reserve.map_or_else(|| (total / RESERVE_SHARE).max(MIN_RESERVE), |size| size.0);
    total.saturating_sub(reserve)
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_memory_is_kept_from_units() {
        let gib = 1_u64 << 30;
        assert_eq!(after_reserve(2 * gib, None), 2 * gib - MIN_RESERVE);
        assert_eq!(after_reserve(100 * gib, None), 90 * gib);
        assert_eq!(after_reserve(2 * gib, Some(Size(gib))), gib);
        assert_eq!(after_reserve(gib, Some(Size(2 * gib))), 0);
    }

    #[test]
    fn memory_is_read_as_linux_tells_it() {
        let text = "MemTotal:       24679628 kB\nMemFree:        14421936 kB\n";
        assert_eq!(total_memory(text), Some(24_679_628 * 1024));
        assert_eq!(total_memory("MemFree: 1 kB"), None);
    }
}
