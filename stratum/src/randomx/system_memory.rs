//! How much memory there is, as the system and its container tell it.

/// Bytes that can be had without swapping; `None` where the system does not say.
pub fn available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = available_of(&read("/proc/meminfo")?)?;
    let limit = read("/sys/fs/cgroup/memory.max")
        .zip(read("/sys/fs/cgroup/memory.current"))
        .and_then(|(max, now)| left_of(&max, &now));
    Some(limit.map_or(machine, |limit| limit.min(machine)))
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
pub fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What a control group leaves of its limit; `None` without a limit. Its page cache counts as used,
/// so this errs low.
pub fn left_of(max: &str, current: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    Some(max.saturating_sub(current.trim().parse().ok()?))
}
