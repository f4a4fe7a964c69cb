//! What the process gives the server: engines, probes, payments, and the handlers of routes that
//! other crates own.

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::Method;
use axum::routing::MethodRouter;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::access::accounts::Accounts;
use crate::chain_monitor::ChainMonitor;
use crate::compliance::Compliance;
use crate::config::{AccessConfig, PostgresConfig};
use crate::host_usage::HostMonitor;
use crate::live::{LiveTail, PlaceKey};
use crate::payment_service::PaymentService;
use crate::photo_store::PhotoStore;
use crate::pool_terms::PoolTerms;
use crate::probe::Probe;
use crate::registry::Registry;
use crate::reports::Reports;
use crate::request_log::RequestLog;
use crate::sql::SqlEngine;

/// What the process gives the server.
#[derive(Default)]
pub struct Services {
    /// What answers questions. Without it the server tells of health and metrics only.
    pub engines: Option<Engines>,
    /// The newest rows of each stream that may be subscribed to, where statements are answered.
    pub live_tails: Vec<Arc<dyn LiveTail>>,
    /// The secret of the ids that miners' subscriptions are told; without one it lasts as long as
    /// the server.
    pub place_key: Option<PlaceKey>,
    /// What must be well for `/health`.
    pub health: Vec<Arc<dyn Probe>>,
    /// What must be there for `/ready`, beside all of `health`.
    pub ready: Vec<Arc<dyn Probe>>,
    /// What `/metrics` shows; without it the page is not there.
    pub metrics: Option<PrometheusHandle>,
    /// Where instructions about payments are handed in; without it the routes about payments answer
    /// that they know nothing.
    pub payment_service: Option<Arc<dyn PaymentService>>,
    /// What is registered of the mine; without it its routes answer that they know nothing.
    pub registry: Option<Arc<dyn Registry>>,
    /// Where photos of inspections are; without it no resource can name one.
    pub photos: Option<Arc<dyn PhotoStore>>,
    /// Violations and orders; without it their routes answer that they know nothing.
    pub compliance: Option<Arc<dyn Compliance>>,
    /// Whether payments are made, so that operators need their token even from this machine.
    pub moves_money: bool,
    /// Where requests are noted; without one nobody keeps them.
    pub request_log: Option<RequestLog>,
    /// Users and service tokens; without them there are the two token files alone.
    pub accounts: Option<Accounts>,
    /// Who tells how busy the machine is, for `/metrics`.
    pub host_monitor: Option<Arc<dyn HostMonitor>>,
    /// Where the chain is, where this process runs the pool.
    pub chain_monitor: Option<Arc<dyn ChainMonitor>>,
    /// The public half of the key that signs payouts, where this process has it.
    pub payout_key: Option<String>,
    /// On which terms the pool is mined, where this process knows one.
    pub pool_terms: Option<PoolTerms>,
    /// What answers the routes that other crates own. Their own body limits hold.
    pub handlers: Vec<RouteHandler>,
    /// Bytes that the handler of the ingest takes at once, which bound a message of Flight as well.
    pub max_ingest_bytes: Option<usize>,
    /// Where the key is of the tokens that miners who sign in by wallet are given; it is made when
    /// it is needed. Without it nobody signs in so.
    pub token_key_file: Option<PathBuf>,
    /// Whose tokens are taken beside our own.
    pub access: AccessConfig,
    /// Where the PostgreSQL wire listens, and what its sessions may take.
    pub postgres: PostgresConfig,
}

/// What answers questions: statements that somebody typed, and the fixed ones of the pages.
pub struct Engines {
    /// Runs typed statements.
    pub sql: Arc<dyn SqlEngine>,
    /// Answers the pages.
    pub reports: Arc<dyn Reports>,
}

/// What answers a route of the list that another crate owns.
pub struct RouteHandler {
    /// The route's method.
    pub method: Method,
    /// The route's path, as the list writes it.
    pub path: &'static str,
    /// What answers. It has this method only.
    pub answers: MethodRouter,
}
