//! A view that is written in SQL over raw tables and windows.

use crate::column::Column;

pub mod anomalies;
pub mod energy;
pub mod money;
pub mod violations;

/// A view over raw tables and windows.
#[derive(Debug, Clone)]
pub struct SqlView {
    /// Its name.
    pub name: String,
    /// One sentence for the users.
    pub doc: String,
    /// The raw tables and views of rollups that it reads.
    pub reads: &'static [&'static str],
    /// Its columns.
    pub columns: Vec<Column>,
    /// The statement.
    pub sql: String,
}
