//! A view that is written in SQL over raw tables.

use headframe_schemas::Column;

/// A view over raw tables.
#[derive(Debug, Clone)]
pub struct SqlView {
    /// Its name.
    pub name: String,
    /// One sentence for the users.
    pub doc: String,
    /// The streams whose tables it reads.
    pub streams: &'static [&'static str],
    /// Its columns.
    pub columns: Vec<Column>,
    /// The statement.
    pub sql: String,
}
