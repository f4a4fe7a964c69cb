//! How busy this machine is, out of `/proc` and the file system.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use headframe_query_front::{HostMonitor, HostUsage};

/// This machine, and the disk of a folder.
pub struct ProcfsMonitor {
    folder: PathBuf,
    /// The processor's ticks at the last reading.
    before: Mutex<Option<Ticks>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl ProcfsMonitor {
    /// The machine and the disk that holds this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            before: Mutex::new(None),
        }
    }
}

impl HostMonitor for ProcfsMonitor {
    fn usage(&self) -> HostUsage {
        let now = std::fs::read_to_string("/proc/stat")
            .ok()
            .as_deref()
            .and_then(ticks);
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let cpu = before.zip(now).and_then(|(before, now)| busy(before, now));
        *before = now.or(*before);
        HostUsage {
            cpu,
            memory: memory().map(|(total, free)| 100.0 - free as f64 / total as f64 * 100.0),
            disk: disk(&self.folder),
        }
    }
}

/// Bytes of memory: all there are, and those that a new process could have.
pub fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some((
        kib(&text, "MemTotal")? * 1024,
        kib(&text, "MemAvailable")? * 1024,
    ))
    .filter(|(total, _)| *total > 0)
}

/// A line of `/proc/meminfo`.
pub fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// How full the disk of a folder is for those who are not root, in percent.
pub fn disk(folder: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used + stat.f_bavail;
    (all > 0).then(|| used as f64 / all as f64 * 100.0)
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; guests
/// are in user already.
fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    Some(Ticks {
        idle: ticks.get(3)? + ticks.get(4)?,
        all: ticks.iter().sum(),
    })
}

/// The percentage of the time between that was worked; `None` when no time went by.
fn busy(before: Ticks, now: Ticks) -> Option<f64> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    let idle = now.idle.saturating_sub(before.idle).min(all);
    Some((all - idle) as f64 / all as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let before = ticks("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3\n");
        assert_eq!(
            before,
            Some(Ticks {
                idle: 850,
                all: 1_000
            })
        );
        let now = ticks("cpu  190 0 60 890 60 0 0 0 7 0\n");
        assert_eq!(
            before.zip(now).and_then(|(before, now)| busy(before, now)),
            Some(50.0)
        );
        assert_eq!(
            before
                .zip(before)
                .and_then(|(before, now)| busy(before, now)),
            None
        );
        assert_eq!(ticks("cpux 1 2"), None);
        assert_eq!(
            kib(
                "MemTotal:       24689304 kB\nMemAvailable: 7 kB\n",
                "MemAvailable"
            ),
            Some(7)
        );
        assert_eq!(kib("MemTotal:       24689304 kB\n", "Mem"), None);
    }

    #[test]
    fn this_machine_answers() {
        let host = ProcfsMonitor::new(PathBuf::from("/"));
        let usage = host.usage();
        assert_eq!(usage.cpu, None, "one reading is no interval");
        assert!(
            [usage.memory, usage.disk]
                .iter()
                .all(|percent| percent.is_some_and(|percent| (0.0..=100.0).contains(&percent))),
            "{usage:?}"
        );
    }
}
