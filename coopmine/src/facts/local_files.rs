//! Facts in files of this machine, one a stream, as lines of JSON.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::FactsError;
use super::row::FactRow;

/// Rows written at once.
const AT_ONCE: usize = 1_024;

/// The files. Each grows to half of what it may take, then stands beside its successor.
pub(super) struct LocalFiles {
    folder: PathBuf,
    most: u64,
    open: HashMap<&'static str, OpenFile>,
}

struct OpenFile {
    file: File,
    bytes: u64,
}

impl LocalFiles {
    /// In this folder, which is made.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Result<Self, FactsError> {
        std::fs::create_dir_all(folder).map_err(|reason| FactsError::Folder {
            path: folder.to_owned(),
            reason,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            most: max_bytes / 2,
            open: HashMap::new(),
        })
    }

    /// Appends rows; how many could not be.
    fn append(&mut self, rows: &[FactRow]) -> Result<(), (u64, std::io::Error)> {
        let mut texts: HashMap<&'static str, (Vec<u8>, u64)> = HashMap::new();
        for row in rows {
            let (stream, line) = row.line();
            let text = texts.entry(stream).or_default();
            // These rows have nothing that JSON cannot say.
            text.0.extend_from_slice(&line.unwrap_or_default());
            text.0.push(b'\n');
            text.1 += 1;
        }
        let mut failed: Result<(), (u64, std::io::Error)> = Ok(());
        for (stream, (text, count)) in texts {
            if let Err(error) = self.append_text(stream, &text) {
                let before = failed.as_ref().err().map_or(0, |(count, _)| *count);
                failed = Err((before + count, error));
            }
        }
        failed
    }

    fn append_text(&mut self, stream: &'static str, text: &[u8]) -> std::io::Result<()> {
        let path = self.folder.join(format!("{stream}.ndjson"));
        if self
            .open
            .get(stream)
            .is_some_and(|open| open.bytes >= self.most)
        {
            self.open.remove(stream);
            std::fs::rename(&path, self.folder.join(format!("{stream}.1.ndjson")))?;
        }
        if !self.open.contains_key(stream) {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let bytes = file.metadata()?.len();
            self.open.insert(stream, OpenFile { file, bytes });
        }
        if let Some(open) = self.open.get_mut(stream) {
            open.file.write_all(text)?;
            open.bytes += text.len() as u64;
        }
        Ok(())
    }
}

/// Writes rows until `stop`, then what still waits.
pub(super) async fn run(
    mut files: LocalFiles,
    mut rows: mpsc::Receiver<FactRow>,
    lost: &AtomicU64,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    let mut is_closed = false;
    loop {
        tokio::select! {
            () = stop.cancelled(), if !is_closed => {
                is_closed = true;
                rows.close();
            }
            count = rows.recv_many(&mut batch, AT_ONCE) => {
                if count == 0 {
                    return;
                }
                let taken = std::mem::take(&mut batch);
                let written = tokio::task::spawn_blocking(move || {
                    let result = files.append(&taken);
                    (files, result)
                });
                let Ok((back, result)) = written.await else {
                    tracing::error!("the writer of facts broke off; no more are kept");
                    return;
                };
                files = back;
                if let Err((count, error)) = result
                    && lost.fetch_add(count, Ordering::Relaxed) == 0
                {
                    tracing::warn!(%error, "rows are lost");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headframe_schemas::stream::hashrate::Hashrate;

    fn row(number: u32) -> FactRow {
        FactRow::Hashrate(Hashrate {
            event_time: 1,
            pool: "farm".to_owned(),
            miner: "4wallet".to_owned(),
            worker: "rig-1".to_owned(),
            hashrate_hs: f64::from(number),
            source: "miner".to_owned(),
        })
    }

    #[test]
    fn a_file_goes_on_after_a_restart_and_makes_way_when_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name));
        for number in 0..3 {
            let mut files = LocalFiles::open(folder.path(), 1_000).unwrap();
            files.append(&[row(number)]).unwrap();
        }
        let text = read("hashrate.ndjson").unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().all(|line| line.starts_with('{')), "{text}");
        let mut files = LocalFiles::open(folder.path(), 1_000).unwrap();
        for number in 3..30 {
            files.append(&[row(number)]).unwrap();
        }
        let (old, new) = (read("hashrate.1.ndjson"), read("hashrate.ndjson"));
        let lines = old.unwrap().lines().count() + new.unwrap().lines().count();
        assert!((5..20).contains(&lines), "the oldest are gone: {lines}");
        let path = folder.path().join("hashrate.ndjson");
        assert!(std::fs::metadata(path).unwrap().len() < 1_000);
    }
}
