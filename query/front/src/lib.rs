//! The HTTP front: routes, the guard before them, pages and the formats of answers.
//!
//! It runs no SQL itself. What it needs answered stands in two traits, [`SqlEngine`] for statements
//! that somebody typed and [`Reports`] for the fixed questions of its pages, and the crate
//! `headframe-query-engine` implements both. The engine depends on the front, and not the other way
//! round, because the front is the smaller of the two and useful alone: a process without SQL
//! serves its probes and pages with it and builds without DataFusion. A third crate for the two
//! traits would be one more name and nothing gained, since whoever implements them needs the
//! errors and the limits of this crate as well.

pub mod auth;
pub mod config;
pub mod console;
pub mod desk;
pub mod error;
mod figures;
pub mod format;
pub mod http;
pub mod machine;
pub mod probe;
pub mod reports;
pub mod running;
pub mod service;
pub mod sql;

pub use config::QueryConfig;
pub use desk::{Desk, DeskError, PayRules, PayerNow, PurseNow};
pub use error::{Code, QueryError};
pub use http::{BindError, Bound, Engines, Server, Wiring};
pub use machine::{Machine, Usage};
pub use probe::Probe;
pub use reports::Reports;
pub use service::{Answer, QueryService};
pub use sql::{At, Coverage, Execution, SqlEngine, SqlRequest};
