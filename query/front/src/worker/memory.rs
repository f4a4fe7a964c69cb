//! How much memory a process holds, as Linux tells it.

/// Bytes a page has on every machine this runs on; where pages are larger, less is seen than there
/// is, and the worker's own limit holds.
const PAGE_BYTES: u64 = 4_096;

/// Resident bytes of a process; `None` when it is gone or the system does not tell.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_holds_something_and_nobody_nothing() {
        assert!(super::resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(super::resident_bytes(u32::MAX), None);
    }
}
