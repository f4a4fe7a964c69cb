//! The data folder: can it be written, how long until a write is on the disk, and is there space
//! left.
//!
//! A share is answered when JetStream holds it on disk, so the time of an fsync is the least a
//! miner waits.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Check, CheckContext, Finding};
use crate::service::host_usage;

/// Writes to measure.
const WRITES: usize = 20;
/// A disk above this is an old or a shared one.
const SLOW: Duration = Duration::from_millis(20);

pub struct DataFolder;

#[async_trait]
impl Check for DataFolder {
    fn name(&self) -> &'static str {
        "data folder"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        if !context.is_configured() {
            return Vec::new();
        }
        let mut folders = vec![("data_dir", &context.config.data_dir)];
        let spool = context
            .pool()
            .map(|pool| &pool.spool.folder)
            .filter(|folder| !folder.as_os_str().is_empty());
        folders.extend(spool.map(|folder| ("stratum.spool.folder", folder)));
        folders
            .into_iter()
            .flat_map(|(key, wanted)| examine(key, wanted))
            .collect()
    }
}

fn examine(key: &str, wanted: &Path) -> Vec<Finding> {
    let folder = existing(wanted);
    let missing = if folder == wanted {
        String::new()
    } else {
        format!(", where {key} will be made,")
    };
    let shown = format!("{}{missing}", folder.display());
    let mut findings = vec![match timed(&folder) {
        Ok((median, worst)) => speed(&shown, median, worst),
        Err(error) => Finding::fail(
            format!("{shown} cannot be written: {error}"),
            format!(
                "give the user of the service the right to write there, or set {key} to another \
                 folder"
            ),
        ),
    }];
    findings.extend(host_usage::disk(&folder).map(|used| free_space(&shown, used)));
    findings
}

/// The folder, or the nearest one above it that is there.
fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

/// Median and worst time of a small write that is on the disk.
fn timed(folder: &Path) -> std::io::Result<(Duration, Duration)> {
    let path = folder.join(format!(".headframe-doctor-{}", std::process::id()));
    let measured = measure(&path);
    // It may never have come into being.
    let _ = std::fs::remove_file(&path);
    measured
}

fn measure(path: &Path) -> std::io::Result<(Duration, Duration)> {
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(path)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_all()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok((times[WRITES / 2], times[WRITES - 1]))
}

fn speed(shown: &str, median: Duration, worst: Duration) -> Finding {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let found = format!(
        "{shown} is written and synced in {:.1} ms (worst of {WRITES}: {:.1} ms)",
        ms(median),
        ms(worst)
    );
    if median <= SLOW {
        return Finding::ok(found);
    }
    Finding::warn(
        found,
        "every answer to a share waits for a sync; put data_dir on a disk of its own, or on one \
         with a write cache that survives a power cut",
    )
}

fn free_space(shown: &str, used: f64) -> Finding {
    let found = format!("the disk of {shown} is {used:.0} % full");
    let todo = "free some of it: when it is full, shares are refused";
    match used {
        used if used >= 99.0 => Finding::fail(found, todo),
        used if used >= 90.0 => Finding::warn(found, todo),
        _ => Finding::ok(found),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_folder_is_measured_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (median, worst) = timed(folder.path()).unwrap();
        assert!(median <= worst);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(existing(&folder.path().join("not/there")), folder.path());
        assert!(timed(&folder.path().join("not")).is_err());
    }

    #[test]
    fn slow_and_full_disks_are_named() {
        assert_eq!(
            speed("/x", Duration::from_millis(1), Duration::from_millis(90)).verdict,
            Verdict::Ok
        );
        assert_eq!(
            speed("/x", Duration::from_millis(21), Duration::from_millis(90)).verdict,
            Verdict::Warn
        );
        assert_eq!(
            [50.0, 95.0, 99.5].map(|used| free_space("/x", used).verdict),
            [Verdict::Ok, Verdict::Warn, Verdict::Fail]
        );
    }
}
