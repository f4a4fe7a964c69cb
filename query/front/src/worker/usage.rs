//! What a process uses of memory and of processors, as Linux tells it.

use std::time::Duration;

/// Bytes a page has on every machine this runs on; where pages are larger, less is seen than there
/// is, and the worker's own limit holds.
const PAGE_BYTES: u64 = 4_096;
/// What Linux counts processor time in, to programs, on every machine.
const TICK: Duration = Duration::from_millis(10);

/// Resident bytes of a process; `None` when it is gone or the system does not tell.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

/// Processor time that all threads of a process have had since its start; `None` when it is gone or
/// the system does not tell.
pub fn processor_time(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // A program's name may have spaces and brackets in it: proc_pid_stat(5).
    let (_, after_name) = text.rsplit_once(')')?;
    let mut numbers = after_name.split_whitespace().skip(11);
    let mut ticks = || numbers.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.saturating_add(ticks()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_process_holds_something_and_nobody_nothing() {
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(resident_bytes(u32::MAX), None);
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = processor_time(std::process::id()).unwrap();
        let mut number = 1_u64;
        while processor_time(std::process::id()).unwrap() < before + 3 * TICK {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert_eq!(processor_time(u32::MAX), None);
    }
}
