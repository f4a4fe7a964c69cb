//! The controller's routes for programs and for its pages: `/api/v1/site` and what stands below it,
//! the routes of the controller that came before, probes and metrics.
//!
//! What each asks of its caller stands beside it. The emergency stop is open to whoever may give
//! orders, and to every program of this machine.

mod debug;
mod legacy;
mod metrics;
mod orders;
mod read;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::{from_fn_with_state, map_response};
use headframe_query_front::access::Permission;
use headframe_query_front::access::token_sign_in::{
    self, Gate, MAX_BODY_BYTES, TokenAccess, TokenServer, guard,
};
use headframe_query_front::console::site::SITE;
use headframe_query_front::{ErrorCode, QueryError, security_headers};
use tokio::sync::watch;

use crate::clock::SiteClock;
use crate::control::Site;
use crate::inbox::Inbox;
use crate::journal::JournalReader;
use crate::status::Status;

/// What visitors know it by.
static SERVER: TokenServer = TokenServer {
    noun: "controller",
    key: "token_file",
    cookie: "headframe_site_session",
    purpose: "headframe site session",
    describe: |principal| SITE.describe_for(principal, |_| false),
};

/// What the routes answer from.
#[derive(Debug, Clone)]
pub struct Routes {
    /// Site and policy.
    pub site: Arc<Site>,
    /// Orders go here.
    pub inbox: Arc<Inbox>,
    /// The last step.
    pub status: watch::Receiver<Option<Arc<Status>>>,
    /// Earlier steps.
    pub journal: JournalReader,
    /// Now.
    pub clock: SiteClock,
    /// Who takes what people and programs give to signals.
    pub signals: Arc<dyn GivenSignals>,
    /// Whether made-up values may be set.
    pub is_debug_on: bool,
}

/// Signals that are given instead of read.
pub trait GivenSignals: std::fmt::Debug + Send + Sync {
    /// Gives a signal what a body of JSON says.
    ///
    /// # Errors
    ///
    /// What is wrong with it; `None` when there is no such signal.
    fn give(&self, signal: &str, body: serde_json::Value, by: &str) -> Result<(), Option<String>>;
}

impl Routes {
    /// The last step.
    fn current(&self) -> Result<Arc<Status>, QueryError> {
        self.status.borrow().clone().ok_or_else(|| {
            QueryError::new(
                ErrorCode::Storage,
                "the controller has not taken its first step yet",
                "ask again in some seconds",
            )
        })
    }
}

/// All routes. Without a token programs of this machine read, and nobody gives orders but the
/// emergency stop.
pub fn router(routes: Routes, token: &str) -> Router {
    let access = TokenAccess::new(&SERVER, token);
    let gate = |permission| {
        let access = access.clone();
        from_fn_with_state(Gate { access, permission }, guard)
    };
    let read = read::routes()
        .merge(legacy::routes())
        .merge(metrics::routes())
        .with_state(routes.clone())
        .route_layer(gate(Permission::Read));
    let mut operate = orders::routes();
    if routes.is_debug_on {
        operate = operate.merge(debug::routes());
    }
    let operate = operate
        .route_layer(gate(Permission::Operate))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(routes.clone());
    let stop = orders::emergency_stop(access.clone())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(routes.clone());
    read.merge(operate)
        .merge(stop)
        .merge(read::probes().with_state(routes))
        .merge(token_sign_in::routes(access))
        .merge(SITE.routes())
        .fallback(no_such_path)
        .layer(map_response(security_headers::add))
}

async fn no_such_path(uri: Uri) -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        format!("there is nothing at {}", uri.path()),
        "docs/site-controller.md lists every path",
    )
}
