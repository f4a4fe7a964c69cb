//! What a machine can say of itself: the processor's temperature and how busy it is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Drivers of sensors that are in processors; others have a name that begins as these do.
const PROCESSORS: [&str; 7] = [
    "coretemp",
    "k8temp",
    "k10temp",
    "zenpower",
    "via_cputemp",
    "cpu",
    "soc",
];

/// The hottest of the processor's own sensors, else of the kernel's thermal zones, where there are
/// some.
pub(super) fn temperature_c() -> Option<f64> {
    let class = Path::new("/sys/class");
    processors_in(&class.join("hwmon")).or_else(|| zones_in(&class.join("thermal")))
}

/// Disks, boards and network cards have sensors, too, which do not count.
fn processors_in(folder: &Path) -> Option<f64> {
    let hottest = |device: &Path| {
        let name = std::fs::read_to_string(device.join("name")).ok()?;
        let is_processor = PROCESSORS.iter().any(|known| name.starts_with(known));
        let files = is_processor.then(|| std::fs::read_dir(device).ok())??;
        let is_input = |path: &PathBuf| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| name.starts_with("temp") && name.ends_with("_input"))
        };
        let inputs = files.flatten().map(|file| file.path()).filter(is_input);
        inputs.filter_map(|path| read_c(&path)).reduce(f64::max)
    };
    let devices = std::fs::read_dir(folder).ok()?.flatten();
    let temperatures = devices.filter_map(|device| hottest(&device.path()));
    temperatures.reduce(f64::max)
}

fn zones_in(folder: &Path) -> Option<f64> {
    let zones = std::fs::read_dir(folder).ok()?.flatten();
    let temperatures = zones.filter_map(|zone| read_c(&zone.path().join("temp")));
    temperatures.reduce(f64::max)
}

fn read_c(path: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    let thousandths: f64 = text.trim().parse().ok()?;
    // What has no sensor says 0, or less than the coldest hall has.
    (thousandths > 1_000.0).then_some(thousandths / 1_000.0)
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
        assert_eq!(zones_in(folder.path()), None);
        for (zone, text) in [
            ("a", "0\n"),
            ("b", "45500\n"),
            ("c", "nonsense"),
            ("d", "38000"),
        ] {
            std::fs::create_dir(folder.path().join(zone)).unwrap();
            std::fs::write(folder.path().join(zone).join("temp"), text).unwrap();
        }
        assert_eq!(zones_in(folder.path()), Some(45.5));
    }

    #[test]
    fn the_processors_sensors_count_and_those_of_a_disk_do_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(processors_in(&folder.path().join("none")), None);
        for (device, name, files) in [
            (
                "hwmon0",
                "nvme",
                [("temp1_input", "71850"), ("temp2_input", "70000")],
            ),
            (
                "hwmon1",
                "coretemp",
                [("temp1_input", "52000"), ("temp1_max", "100000")],
            ),
            (
                "hwmon2",
                "cpu_thermal",
                [("temp1_input", "61500"), ("in0_input", "90000")],
            ),
        ] {
            let device = folder.path().join(device);
            std::fs::create_dir(&device).unwrap();
            std::fs::write(device.join("name"), format!("{name}\n")).unwrap();
            for (file, text) in files {
                std::fs::write(device.join(file), format!("{text}\n")).unwrap();
            }
        }
        assert_eq!(processors_in(folder.path()), Some(61.5));
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
