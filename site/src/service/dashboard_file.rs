//! The file that the old dashboard reads: what `/dashboard_data.json` answers, after each step.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::SiteClock;
use crate::status::Status;

/// Writes the file after each step, until it is dropped. A disk that takes long is asked again when
/// it has answered; control waits for nothing of this.
pub(super) async fn write_each_step(
    file: PathBuf,
    clock: SiteClock,
    mut status: watch::Receiver<Option<Arc<Status>>>,
) {
    let mut is_failing = false;
    while status.changed().await.is_ok() {
        let Some(now) = status.borrow_and_update().clone() else {
            continue;
        };
        let text = now.legacy_status(clock.now()).to_string();
        let to = file.clone();
        let written = tokio::task::spawn_blocking(move || replace(&to, &text)).await;
        let failed = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed.as_ref().filter(|_| !is_failing) {
            let file = file.display();
            tracing::warn!(%file, error, "dashboard_file cannot be written; it is tried again");
        }
        is_failing = failed.is_some();
    }
}

/// Whoever reads it meanwhile sees the file before or the one after.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    std::fs::write(&new, text)?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dashboard_data.json");
        for text in ["{\"is_on\":true}", "{}"] {
            replace(&file, text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("no/such/file"), "{}").is_err());
    }
}
