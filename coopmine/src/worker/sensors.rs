//! What a machine can say of itself: the processor's temperature and how busy it is.

use std::path::Path;

/// The hottest of the kernel's thermal zones, where there are some.
pub(super) fn temperature_c() -> Option<f64> {
    temperature_in(Path::new("/sys/class/thermal"))
}

fn temperature_in(folder: &Path) -> Option<f64> {
    let zones = std::fs::read_dir(folder).ok()?.flatten();
    let read = |zone: std::fs::DirEntry| {
        let text = std::fs::read_to_string(zone.path().join("temp")).ok()?;
        let thousandths: f64 = text.trim().parse().ok()?;
        // A zone without a sensor says 0, or less than the coldest hall has.
        (thousandths > 1_000.0).then_some(thousandths / 1_000.0)
    };
    zones.filter_map(read).reduce(f64::max)
}

/// How busy all processors were since the last time it was called, percent.
#[derive(Debug, Default)]
pub(super) struct CpuUsage {
    busy: u64,
    total: u64,
}

impl CpuUsage {
    /// Since the last call; `None` at the first.
    pub(super) fn percent(&mut self) -> Option<f64> {
        self.percent_of(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn percent_of(&mut self, stat: &str) -> Option<f64> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> = line
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        // Idle and waiting for disks; the last two are counted in the first two already.
        let idle: u64 = times.get(3..5)?.iter().sum();
        let total: u64 = times.iter().take(8).sum();
        let before = std::mem::replace(
            self,
            Self {
                busy: total - idle,
                total,
            },
        );
        let span = total.saturating_sub(before.total);
        let busy = self.busy.saturating_sub(before.busy);
        (before.total > 0 && span > 0).then(|| busy as f64 * 100.0 / span as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_zone_counts_and_a_dead_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(temperature_in(folder.path()), None);
        for (zone, text) in [
            ("a", "0\n"),
            ("b", "45500\n"),
            ("c", "nonsense"),
            ("d", "38000"),
        ] {
            std::fs::create_dir(folder.path().join(zone)).unwrap();
            std::fs::write(folder.path().join(zone).join("temp"), text).unwrap();
        }
        assert_eq!(temperature_in(folder.path()), Some(45.5));
    }

    #[test]
    fn usage_is_what_was_between_two_calls() {
        let mut usage = CpuUsage::default();
        assert_eq!(
            usage.percent_of("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1"),
            None
        );
        assert_eq!(
            usage.percent_of("cpu  150 0 125 825 0 0 0 0 50 0\n"),
            Some(75.0)
        );
        assert_eq!(usage.percent_of("intr 5"), None);
    }
}
