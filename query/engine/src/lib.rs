//! SQL over stored tables and the rows that are not stored yet.
//!
//! Knows tables, sequences and plans. It never writes a table and never decides anything about a
//! row. It implements what the front asks for (`headframe_query_front`): [`Engine`] runs
//! statements, [`SqlReports`] answers the fixed questions of the pages.

pub mod catalog;
mod compact;
pub mod datafusion;
pub mod delta;
pub mod engine;
pub mod error;
mod json_text;
mod live_rows;
pub mod memory;
mod own_rows;
pub mod params;
pub mod pg_catalog;
pub mod pool_queries;
mod remote_source;
pub mod rows_in_memory;
mod serve;
pub mod source;
pub mod statement;
pub mod stream_snapshot;
pub mod stream_source;
mod tail_cache;
pub mod uncommitted_rows;
pub mod union;
pub mod worker;

pub use catalog::Catalog;
pub use delta::{DeltaTables, StoredUserTable};
pub use engine::Engine;
pub use live_rows::LiveRowsServer;
pub use pool_queries::SqlReports;
pub use source::{Live, Source, SourceError, Stored, StoredRows, Tail};
pub use stream_source::{LastSeq, StreamSource, Tables};
