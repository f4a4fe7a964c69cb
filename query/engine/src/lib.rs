//! SQL over stored tables and the rows that are not stored yet.
//!
//! Knows tables, sequences and plans. It never writes a table and never decides anything about a
//! row. It implements what the front asks for (`headframe_query_front`): [`Engine`] runs
//! statements, [`SqlReports`] answers the fixed questions of the pages.

pub mod catalog;
pub mod date_trunc;
pub mod delta;
pub mod engine;
pub mod error;
mod growth;
pub mod intern;
pub mod memory;
mod nesting;
pub mod params;
pub mod report;
mod shadow;
pub mod source;
pub mod statement;
pub mod stream_snapshot;
pub mod stream_source;
pub mod union;

pub use catalog::Catalog;
pub use delta::DeltaTables;
pub use engine::Engine;
pub use report::SqlReports;
pub use source::{Source, SourceError, Stored, StoredRows, Tail};
pub use stream_source::{LastSeq, StreamSource, Tables};
