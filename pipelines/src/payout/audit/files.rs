//! Whether the files that a block's payout rests on are there, whole, and to the last bit those
//! that were written.

use std::sync::Arc;

use futures::TryStreamExt;
use headframe_schemas::codec;
use headframe_sinks::{DataFile, SinkError, Snapshot, TableLocation, row_groups};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::AuditReport;

/// Looks at every row group that may hold the hash. What is missing, changed or cannot be read is
/// named with its file.
pub(super) async fn check(snapshot: &Snapshot, column: &str, hash: &str, report: &mut AuditReport) {
    for file in &snapshot.files {
        match readable(snapshot, file, column, hash).await {
            Ok(rows) if rows == file.rows => {}
            Ok(rows) => {
                report.add_difference(format!(
                    "{}: file {} has {rows} rows, the log says {}",
                    snapshot.table.name, file.add.path, file.rows
                ));
            }
            Err(why) => report.add_difference(format!(
                "{}: file {} {why}",
                snapshot.table.name, file.add.path
            )),
        }
    }
}

/// Compares the bytes of these files with the checksums in their names.
pub(super) async fn intact(
    snapshot: &Snapshot,
    files: impl Iterator<Item = &Arc<DataFile>>,
    report: &mut AuditReport,
) {
    for file in files {
        if let Err(why) = whole(snapshot, file).await {
            let difference = format!("{}: file {} {why}", snapshot.table.name, file.add.path);
            if !report.differences.contains(&difference) {
                report.add_difference(difference);
            }
        }
    }
}

/// The entries of a table's log that are not lines of JSON, by their paths. Empty as well when the
/// storage is away.
pub(super) async fn broken_entries(location: &TableLocation) -> Vec<String> {
    let listed: Vec<_> = location
        .store
        .list(Some(&Path::from("_delta_log")))
        .try_collect()
        .await
        .unwrap_or_default();
    let mut broken = Vec::new();
    for path in listed
        .into_iter()
        .map(|entry| entry.location)
        .filter(|path| path.extension() == Some("json"))
    {
        let Ok(entry) = location.store.get(&path).await else {
            continue;
        };
        let Ok(bytes) = entry.bytes().await else {
            continue;
        };
        let is_json = |line: &[u8]| {
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line).is_ok()
        };
        if !codec::lines(&bytes).all(|(_, line)| is_json(line)) {
            broken.push(path.to_string());
        }
    }
    broken.sort();
    broken
}

/// The rows its footer tells of.
async fn readable(
    snapshot: &Snapshot,
    file: &Arc<DataFile>,
    column: &str,
    hash: &str,
) -> Result<i64, String> {
    let unreadable = |error: SinkError| format!("cannot be read: {error}");
    let columns: Vec<&str> = snapshot
        .table
        .file_columns()
        .iter()
        .map(|column| column.name)
        .collect();
    let mut rows = 0;
    let mut wanted = Vec::new();
    for group in row_groups(snapshot, file).await.map_err(unreadable)? {
        rows += group.rows() as i64;
        if group.text_bounds(column).may_hold(hash) {
            wanted.push(group);
        }
    }
    if !wanted.is_empty() {
        whole(snapshot, file).await?;
    }
    for group in wanted {
        let mut batches = group.read(&columns).map_err(unreadable)?;
        while batches.try_next().await.map_err(unreadable)?.is_some() {}
    }
    Ok(rows)
}

async fn whole(snapshot: &Snapshot, file: &DataFile) -> Result<(), String> {
    match file.is_intact(&snapshot.location).await {
        Ok(Some(false)) => Err(
            "is not the one that was written: its bytes do not have the checksum of its name"
                .to_owned(),
        ),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}
