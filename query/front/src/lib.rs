//! The HTTP front: routes, the guard before them, pages and the formats of answers.
//!
//! It runs no SQL itself. What it needs answered stands in two traits, [`SqlEngine`] for statements
//! that somebody typed and [`Reports`] for the fixed questions of its pages, and the crate
//! `headframe-query-engine` implements both. The engine depends on the front, and not the other way
//! round, because the front is the smaller of the two and useful alone: a process without SQL
//! serves its probes and pages with it and builds without DataFusion. A third crate for the two
//! traits would be one more name and nothing gained, since whoever implements them needs the
//! errors and the limits of this crate as well.

pub mod access;
mod answer_cache;
mod app_state;
pub mod chain_monitor;
mod clock;
pub mod config;
mod connection;
pub mod console;
mod encoded_json;
pub mod error;
mod error_body;
mod event_stream;
mod fee_adjustments;
pub mod format;
mod grpc;
mod hashrate_chart;
mod held_body;
mod held_refusals;
pub mod host_usage;
mod key_file;
mod live;
mod long_polls;
mod page_answer;
pub mod payment_service;
mod peer;
mod pool_block;
mod pool_metrics;
pub mod pool_terms;
pub mod probe;
mod query_params;
mod rate_limit;
pub mod reports;
mod request_limits;
pub mod request_log;
pub mod route;
mod router;
pub mod running;
pub mod server;
pub mod service;
pub mod services;
mod signature_checks;
mod slot_quotas;
mod slots;
mod sparkline;
pub mod sql;
mod sqlstate;
pub mod start_times;
pub mod text_table;
pub mod tls;
pub mod wire;
pub mod worker;

pub use chain_monitor::{ChainMonitor, ChainTip};
pub use config::{AccessConfig, JwtConfig, OidcConfig, PostgresConfig, QueryConfig, TlsConfig};
pub use error::{ErrorCode, QueryError};
pub use host_usage::{HostMonitor, HostUsage};
pub use live::{LiveTail, OldestRow, PlaceKey, PlaceKeyError, TailRows};
pub use payment_service::{PaymentService, PaymentServiceError};
pub use probe::Probe;
pub use reports::Reports;
pub use route::Route;
pub use server::{
    BindError, BoundServer, Server, load_certificate, load_issuer_keys, load_oidc_files,
    load_postgres_certificate,
};
pub use service::{Answer, QueryService};
pub use services::{Engines, RouteHandler, Services};
pub use sql::{At, Coverage, Description, Execution, SqlEngine, SqlRequest};
pub use sqlstate::SqlState;
pub use start_times::StartTimes;
