//! SQL over stored tables and the rows that are not stored yet, answered over HTTP.
//!
//! Knows tables, sequences and wire formats. It never writes a table and never decides anything
//! about a row.

pub mod auth;
pub mod catalog;
pub mod config;
pub mod console;
pub mod date_trunc;
pub mod delta;
pub mod desk;
pub mod engine;
pub mod error;
mod figures;
pub mod format;
mod growth;
pub mod http;
pub mod intern;
pub mod live;
pub mod machine;
pub mod memory;
mod nesting;
pub mod params;
pub mod probe;
pub mod report;
pub mod running;
mod shadow;
pub mod source;
pub mod statement;
pub mod stream_source;
pub mod union;

pub use catalog::Catalog;
pub use config::QueryConfig;
pub use delta::DeltaTables;
pub use desk::{Desk, DeskError, PayRules, PayerNow, PurseNow};
pub use engine::{Answer, Ask, Engine};
pub use error::{Code, QueryError};
pub use http::{BindError, Bound, Server, Wiring};
pub use machine::{Machine, Usage};
pub use probe::Probe;
pub use source::{At, Coverage, Source, SourceError, Stored, StoredRows, Tail};
pub use stream_source::{LastSeq, StreamSource, Tables};
