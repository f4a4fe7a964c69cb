//! Under which names a table's log keeps its offsets. Delta keeps one number an application, in the
//! same commit as the rows.

/// The application whose offset is the last sequence in the table.
pub fn offset_app(table: &str) -> String {
    format!("headframe/{table}/offset")
}

/// The application whose offset is the epoch of the writer that owns the table.
pub fn fence_app(table: &str) -> String {
    format!("headframe/{table}/fence")
}

/// The application whose offset is the epoch of the table's maintenance owner.
pub fn maintenance_app(table: &str) -> String {
    format!("headframe/{table}/maintenance")
}

/// The application whose offset is the time up to which windows of the table are closed.
pub fn watermark_app(table: &str) -> String {
    format!("headframe/{table}/watermark")
}

/// The applications whose offsets a writer needs to know.
pub(crate) fn writer_apps(table: &str) -> Vec<String> {
    vec![
        offset_app(table),
        fence_app(table),
        maintenance_app(table),
        watermark_app(table),
    ]
}
