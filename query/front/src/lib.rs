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
#[cfg(feature = "server")]
mod answer_cache;
#[cfg(feature = "server")]
mod answer_version;
#[cfg(feature = "server")]
pub mod answers;
#[cfg(feature = "server")]
mod app_state;
pub mod bar_chart;
#[cfg(feature = "server")]
pub mod chain_monitor;
mod chart_axis;
#[cfg(feature = "server")]
mod clock;
#[cfg(feature = "server")]
pub mod compliance;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "connections")]
pub mod connection;
pub mod console;
#[cfg(feature = "server")]
mod encoded_json;
pub mod error;
#[cfg(feature = "server")]
mod error_body;
#[cfg(feature = "server")]
mod etag;
#[cfg(feature = "server")]
mod event_stream;
#[cfg(feature = "server")]
mod fee_adjustments;
#[cfg(feature = "server")]
pub mod format;
#[cfg(feature = "connections")]
mod grpc;
#[cfg(feature = "server")]
mod held_body;
#[cfg(feature = "server")]
mod held_refusals;
#[cfg(feature = "server")]
pub mod host_usage;
#[cfg(feature = "server")]
mod key_file;
#[cfg(feature = "server")]
mod live;
#[cfg(feature = "server")]
mod long_polls;
#[cfg(feature = "server")]
mod page_answer;
#[cfg(feature = "server")]
pub mod payment_service;
pub mod peer;
#[cfg(feature = "server")]
pub mod photo_store;
#[cfg(feature = "server")]
mod pool_block;
#[cfg(feature = "server")]
mod pool_metrics;
#[cfg(feature = "server")]
pub mod pool_terms;
pub mod power_chart;
#[cfg(feature = "server")]
pub mod probe;
#[cfg(feature = "server")]
mod query_params;
#[cfg(feature = "server")]
mod rate_limit;
#[cfg(feature = "server")]
pub mod registry;
#[cfg(feature = "server")]
pub mod reports;
#[cfg(feature = "server")]
mod request_limits;
#[cfg(feature = "server")]
pub mod request_log;
#[cfg(feature = "server")]
pub mod route;
#[cfg(feature = "server")]
mod router;
#[cfg(feature = "server")]
mod rows_chart;
#[cfg(feature = "server")]
pub mod running;
pub mod security_headers;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod services;
#[cfg(feature = "server")]
mod signature_checks;
#[cfg(feature = "server")]
mod slot_quotas;
#[cfg(feature = "server")]
mod slots;
pub mod sparkline;
#[cfg(feature = "server")]
pub mod sql;
mod sqlstate;
#[cfg(feature = "server")]
pub mod start_times;
#[cfg(feature = "server")]
pub mod text_table;
pub mod time_chart;
pub mod time_series;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod wire;
#[cfg(feature = "server")]
pub mod worker;

#[cfg(feature = "server")]
pub use chain_monitor::{ChainMonitor, ChainTip};
pub use chart_axis::AxisUnit;
#[cfg(feature = "server")]
pub use compliance::Compliance;
#[cfg(feature = "server")]
pub use config::{AccessConfig, JwtConfig, OidcConfig, PostgresConfig, QueryConfig, TlsConfig};
pub use error::{ErrorCode, QueryError};
#[cfg(feature = "server")]
pub use host_usage::{HostMonitor, HostUsage};
#[cfg(feature = "server")]
pub use live::{LiveTail, OldestRow, PlaceKey, PlaceKeyError, TailRows};
#[cfg(feature = "server")]
pub use payment_service::{PaymentService, PaymentServiceError};
#[cfg(feature = "server")]
pub use photo_store::{PhotoStore, PhotoStoreError};
#[cfg(feature = "server")]
pub use probe::Probe;
#[cfg(feature = "server")]
pub use registry::{Registry, RegistryFailure, ResourcePage};
#[cfg(feature = "server")]
pub use reports::Reports;
#[cfg(feature = "server")]
pub use route::Route;
#[cfg(feature = "server")]
pub use server::{
    BindError, BoundServer, Server, load_certificate, load_issuer_keys, load_oidc_files,
    load_postgres_certificate,
};
#[cfg(feature = "server")]
pub use service::{Answer, QueryService};
#[cfg(feature = "server")]
pub use services::{Engines, RouteHandler, Services};
#[cfg(feature = "server")]
pub use sql::{At, Coverage, Description, Execution, SqlEngine, SqlRequest};
pub use sqlstate::SqlState;
#[cfg(feature = "server")]
pub use start_times::StartTimes;
