//! Producer names of HTTP clients, in a namespace that no producer of this system uses.
//!
//! Rows are told apart for ever by producer and number. A client that named itself like the pool's
//! own publisher could post the pool's next numbers first, and the pool's rows would then be
//! dropped as repetitions. Our own producers have no slash in their names.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};

use crate::read::message::MAX_PRODUCER_BYTES;

const NAMESPACE: &str = "http/";
/// The longest name that a client may give itself, in bytes.
pub const MAX_NAME_BYTES: usize = MAX_PRODUCER_BYTES - NAMESPACE.len();

/// The producer that a client's name stands for; `None` when the name is empty or too long.
pub fn namespaced(name: &str) -> Option<String> {
    (!name.is_empty() && name.len() <= MAX_NAME_BYTES).then(|| format!("{NAMESPACE}{name}"))
}

/// Whether any row of a batch names its producer.
pub fn is_named(batch: &RecordBatch) -> bool {
    batch
        .column_by_name("producer")
        .is_some_and(|column| column.null_count() < column.len())
}

/// The batch with the producers that its rows name put into the namespace.
pub fn namespaced_rows(batch: RecordBatch) -> Result<RecordBatch, String> {
    let Ok(index) = batch.schema().index_of("producer") else {
        return Ok(batch);
    };
    let Some(names) = batch.column(index).as_string_view_opt() else {
        return Err("the column producer is no text".to_owned());
    };
    if names.null_count() == names.len() {
        return Ok(batch);
    }
    let renamed = names.iter().map(|name| match name {
        None | Some("") => Ok(None),
        Some(name) => namespaced(name)
            .map(Some)
            .ok_or_else(|| format!("a producer is longer than {MAX_NAME_BYTES} bytes")),
    });
    let renamed: StringViewArray = renamed
        .collect::<Result<Vec<_>, String>>()?
        .into_iter()
        .collect();
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(renamed);
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| error.to_string())
}
