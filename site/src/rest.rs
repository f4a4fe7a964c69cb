//! The controller's routes for programs and for its pages: `/api/v1/site` and what stands below it,
//! the routes of the controller that came before, probes and metrics.
//!
//! What each asks of its caller stands beside it. The emergency stop is open to whoever may give
//! orders, and to every program of this machine.

mod debug;
mod events;
mod legacy;
mod metrics;
mod orders;
mod read;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query};
use axum::http::Uri;
use axum::middleware::{from_fn_with_state, map_response};
use headframe_query_front::access::Permission;
use headframe_query_front::access::token_sign_in::{
    self, Gate, MAX_BODY_BYTES, TokenAccess, TokenServer, guard,
};
use headframe_query_front::connection::{ConnectionSettings, open_files_limit};
use headframe_query_front::console::site::SITE;
use headframe_query_front::{ErrorCode, QueryError, security_headers};
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;

use crate::clock::SiteClock;
use crate::control::Site;
use crate::inbox::Inbox;
use crate::journal::JournalReader;
use crate::signal::{LayoutShown, RawBody};
use crate::status::Status;

/// What visitors know it by.
static SERVER: TokenServer = TokenServer {
    noun: "controller",
    key: "token_file",
    cookie: "headframe_site_session",
    purpose: "headframe site session",
    describe: |principal| SITE.describe_for(principal, |_| false),
};

/// Connections from other machines; fewer where the process may open few files.
const CONNECTIONS: usize = 256;
/// Connections from one address.
const CONNECTIONS_OF_ADDRESS: usize = 32;
/// Places of this machine's own programs.
const LOCAL_CONNECTIONS: usize = 64;

/// How many connections there may be, and how long each. Most of the files that the process may
/// open are left to devices, signals and the journal.
pub fn connections() -> ConnectionSettings {
    let most = open_files_limit().map_or(CONNECTIONS, |files| files / 8);
    ConnectionSettings {
        max: most.clamp(16, CONNECTIONS),
        max_per_address: CONNECTIONS_OF_ADDRESS,
        kept_for_local: Some(most.clamp(16, LOCAL_CONNECTIONS)),
        header: Duration::from_secs(5),
        idle: Duration::from_secs(30),
        body: Duration::from_secs(5),
        write: Duration::from_secs(10),
        ..ConnectionSettings::default()
    }
}

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
    /// The site's signals.
    pub signals: Arc<dyn SiteSignals>,
    /// Whether made-up values may be set.
    pub is_debug_on: bool,
}

/// What people and programs ask of signals.
pub trait SiteSignals: std::fmt::Debug + Send + Sync {
    /// Gives a signal what a body of JSON says.
    ///
    /// # Errors
    ///
    /// What is wrong with it; `None` when there is no such signal.
    fn give(&self, signal: &str, body: serde_json::Value, by: &str) -> Result<(), Option<String>>;

    /// The layout of a signal's page, where it has one that is checked.
    fn layout(&self, signal: &str) -> Option<LayoutShown>;

    /// Takes the layout that the last page of a signal had.
    ///
    /// # Errors
    ///
    /// Why not; `None` when there is no such signal.
    fn accept_layout(&self, signal: &str, layout: &str) -> Result<(), Option<String>>;

    /// The last bodies of a signal as they came, the newest last; none when there is no such
    /// signal.
    fn evidence(&self, signal: &str) -> Option<Vec<RawBody>>;
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
        .merge(events::routes())
        .merge(signals::read())
        .merge(legacy::routes())
        .merge(metrics::routes())
        .with_state(routes.clone())
        .route_layer(gate(Permission::Read));
    let mut operate = orders::routes().merge(signals::order_routes());
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
        .merge(read::probe_routes().with_state(routes))
        .merge(token_sign_in::routes(access))
        .merge(SITE.routes())
        .fallback(no_such_path)
        .layer(CompressionLayer::new())
        .layer(map_response(security_headers::add))
}

async fn no_such_path(uri: Uri) -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        format!("there is nothing at {}", uri.path()),
        "docs/site-controller.md lists every path",
    )
}

/// What stands after the question mark of an address, or an error that says how it should.
fn query<T>(read: Result<Query<T>, QueryRejection>, hint: &str) -> Result<T, QueryError> {
    let Query(query) = read.map_err(|error| QueryError::bad_request(error.body_text(), hint))?;
    Ok(query)
}
