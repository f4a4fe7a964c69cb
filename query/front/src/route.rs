//! The HTTP routes: one entry each, with who may use it, what it does and what answers there.
//!
//! The router, the guard, the documents' table and the tests are made from [`ALL`]: a path is
//! matched once, by the router, and the guard asks the route that was matched. Adding a route is
//! one file in `route/` and one line here.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::MethodRouter;

use crate::access::{Permission, Role, allows};
use crate::app_state::AppState;
use crate::route::schema::Schema;

mod accounts;
mod anomalies;
mod anomaly_readings;
pub mod bans;
mod blocks;
mod cryptonote_nodejs_pool;
mod drawing;
mod efforts;
mod energy;
mod energy_bars;
mod energy_zone;
mod hashrate;
mod health;
mod ingest;
mod instructions;
mod jwks;
mod kinds;
mod live;
mod live_sql;
mod login;
mod me;
mod metrics_page;
mod miner;
mod nodejs_pool;
mod oidc_login;
mod open_pages;
pub mod openapi;
mod payments;
mod payouts;
mod photos;
mod pool;
mod pool_payments;
mod pool_snapshot;
mod power;
mod ready;
pub(crate) mod registry;
pub(crate) mod registry_proto;
mod rows;
mod running_queries;
pub mod schema;
mod setup;
mod sql;
mod streams;
mod terms;
mod threshold;
mod top_miners;
pub mod unproven_blocks;
mod violations;
mod wallet_login;
mod worker_hashrates;
mod workers;

/// One method of one path.
pub struct Route {
    /// The method; `GET` answers `HEAD` as well.
    pub method: Method,
    /// The path as axum writes it.
    pub path: &'static str,
    /// Who may use it.
    pub permission: Permission,
    /// What it does, in one sentence for the documents.
    pub doc: &'static str,
    /// What a request carries, and what an answer holds.
    pub schema: Schema,
    /// What answers.
    pub(crate) handler: Handler,
}

impl Route {
    /// Whether [`crate::Services::handlers`] has to bring what answers.
    pub fn is_of_another_crate(&self) -> bool {
        matches!(self.handler, Handler::Service)
    }

    /// Whether a request takes one of its caller's slots.
    pub(crate) fn needs_slot(&self) -> bool {
        matches!(self.handler, Handler::Page(_) | Handler::LongPoll(_))
    }

    /// Whether its handler takes that slot when it has waited.
    pub(crate) fn defers_slot(&self) -> bool {
        matches!(self.handler, Handler::LongPoll(_))
    }

    /// Whether answers have an ETag, and a `Link` where they are pages of a list.
    pub fn answers_etag(&self) -> bool {
        let is_page = matches!(self.handler, Handler::Page(_) | Handler::MemoryPage(_));
        self.method == Method::GET && is_page
    }

    /// Whether an address that is only refused here waits for its refusals.
    pub(crate) fn holds_refusals(&self) -> bool {
        matches!(
            self.handler,
            Handler::Statement(_) | Handler::Subscription(_) | Handler::Socket(_)
        )
    }

    /// Whether an answer may go on for so long that its permission is to be asked for again.
    pub(crate) fn is_ongoing(&self) -> bool {
        self.holds_refusals()
    }

    /// Whether a WebSocket may bring its token as its first message.
    pub(crate) fn takes_first_message(&self) -> bool {
        matches!(self.handler, Handler::Socket(_))
    }
}

/// What answers a route.
pub(crate) enum Handler {
    /// A function of this crate.
    Front(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for a function that reads tables and needs a slot of its caller's class.
    Page(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for a function that answers out of memory, and needs none.
    MemoryPage(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for a function that may wait before it reads tables, and takes its slot itself.
    LongPoll(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for a function that runs what somebody typed: it has slots of its own, and its
    /// refusals are held back.
    Statement(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for one whose answer goes on.
    Subscription(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for one that a WebSocket may ask for, which may say who it is after that.
    Socket(fn() -> MethodRouter<Arc<AppState>>),
    /// What [`crate::Services::handlers`] has for this method and path; 404 in a process without
    /// it.
    Service,
}

/// Every route of the server.
pub static ALL: &[&Route] = &with_registry::<{ WRITTEN.len() + registry::COUNT }>();

/// Those of [`WRITTEN`], then those that are made from the kinds of the registry.
const fn with_registry<const COUNT: usize>() -> [&'static Route; COUNT] {
    let mut all = [WRITTEN[0]; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = match at.checked_sub(WRITTEN.len()) {
            None => WRITTEN[at],
            Some(at) => registry::at(at),
        };
        at += 1;
    }
    all
}

/// The routes that have a file of their own.
const WRITTEN: &[&Route] = &[
    &live::ROUTE,
    &health::ROUTE,
    &ready::ROUTE,
    &metrics_page::ROUTE,
    &openapi::ROUTE,
    &registry_proto::ROUTE,
    &jwks::ROUTE,
    &login::LOGIN,
    &wallet_login::CHALLENGE,
    &wallet_login::LOGIN,
    &oidc_login::BEGIN,
    &oidc_login::CALLBACK,
    &login::LOGOUT,
    &me::ROUTE,
    &open_pages::ROUTE,
    &setup::ROUTE,
    &accounts::LIST,
    &accounts::ADD,
    &accounts::REVOKE,
    &sql::POST,
    &sql::GET,
    &running_queries::CANCEL,
    &live_sql::ROUTE,
    &streams::ROUTE,
    &rows::ROUTE,
    &ingest::ROUTE,
    &pool::ROUTE,
    &hashrate::OF_POOL,
    &hashrate::OF_POOL_DRAWN,
    &efforts::ROUTE,
    &top_miners::ROUTE,
    &pool_payments::ROUTE,
    &terms::ROUTE,
    &blocks::ROUTE,
    &payouts::OF_BLOCK,
    &payouts::KEY,
    &miner::ROUTE,
    &hashrate::OF_MINER,
    &hashrate::OF_MINER_DRAWN,
    &workers::ROUTE,
    &worker_hashrates::ROUTE,
    &payouts::OF_MINER,
    &payments::OF_MINER,
    &threshold::ROUTE,
    &payments::LIST,
    &payments::STATE,
    &payments::LEDGER,
    &instructions::ROUTE,
    &energy::CURRENT,
    &energy::HOURLY,
    &energy::DAILY,
    &energy::ALLOCATIONS,
    &power::NUMBERS,
    &power::DRAWN,
    &energy_bars::HOURLY,
    &energy_bars::DAILY,
    &anomalies::ROUTE,
    &violations::list::LIST,
    &violations::list::ONE,
    &violations::report::ROUTE,
    &violations::decide::ACKNOWLEDGE,
    &violations::decide::REMEDIATE,
    &violations::decide::RESOLVE,
    &violations::decide::VERIFY,
    &violations::decide::CLOSE,
    &violations::decide::WAIVE,
    &violations::decide::FALSE_POSITIVE,
    &violations::decide::REOPEN,
    &violations::orders::LIST,
    &violations::orders::CARRY_OUT,
    &violations::orders::SIGN_OFF,
    &violations::orders::WITHDRAW,
    &violations::score::OF_POOL,
    &violations::score::OF_OPERATOR,
    &anomaly_readings::NUMBERS,
    &anomaly_readings::DRAWN,
    &kinds::ROUTE,
    &photos::UPLOAD,
    &photos::ONE,
    &bans::LIST,
    &bans::BAN,
    &bans::LIFT,
    &cryptonote_nodejs_pool::STATS,
    &cryptonote_nodejs_pool::LIVE_STATS,
    &cryptonote_nodejs_pool::STATS_ADDRESS,
    &cryptonote_nodejs_pool::PAYMENTS,
    &cryptonote_nodejs_pool::BLOCKS,
    &cryptonote_nodejs_pool::TOP_MINERS,
    &cryptonote_nodejs_pool::BLOCK_EXPLORERS,
    &cryptonote_nodejs_pool::APIS,
    &nodejs_pool::CONFIG,
    &nodejs_pool::POOL_STATS,
    &nodejs_pool::POOL_STATS_OF,
    &nodejs_pool::NETWORK_STATS,
    &nodejs_pool::POOL_BLOCKS,
    &nodejs_pool::POOL_BLOCKS_OF,
    &nodejs_pool::COIN_BLOCKS,
    &nodejs_pool::POOL_PAYMENTS,
    &nodejs_pool::POOL_PAYMENTS_OF,
    &nodejs_pool::POOL_PORTS,
    &nodejs_pool::POOL_MOTD,
    &nodejs_pool::POOL_HASHRATE,
    &nodejs_pool::POOL_HASHRATE_OF,
    &nodejs_pool::POOL_MINERS,
    &nodejs_pool::POOL_MINERS_OF,
    &nodejs_pool::MINER_STATS,
    &nodejs_pool::MINER_WORKERS,
    &nodejs_pool::MINER_WORKER_STATS,
    &nodejs_pool::MINER_IDENTIFIERS,
    &nodejs_pool::MINER_PAYMENTS,
    &nodejs_pool::MINER_BLOCK_PAYMENTS,
    &nodejs_pool::MINER_HASHRATE,
    &nodejs_pool::MINER_WORKERS_HASHRATE,
    &nodejs_pool::MINER_WORKER_HASHRATE,
    &nodejs_pool::USER,
    &unproven_blocks::LIST,
    &unproven_blocks::DECIDE,
];

/// The table of the routes in the documents.
pub fn markdown_table() -> String {
    let mut text = "| route | who | what |\n|---|---|---|\n".to_owned();
    for route in ALL {
        text.push_str(&format!(
            "| `{} {}` | {} | {} |\n",
            route.method,
            route.path,
            route.permission.as_str(),
            route.doc
        ));
    }
    text
}

/// Who asks, in the table of who gets what.
pub struct Caller {
    /// As the documents call the caller.
    pub name: &'static str,
    /// The name of its role.
    pub role: Option<&'static str>,
    /// Whether it asks about its own miner.
    pub is_own: bool,
}

const fn caller(name: &'static str, role: Option<&'static str>, is_own: bool) -> Caller {
    Caller { name, role, is_own }
}

/// The columns of the table of who gets what.
pub const CALLERS: &[Caller] = &[
    caller("nobody", None, false),
    caller("viewer", Some("viewer"), false),
    caller("miner, its own", Some("miner"), true),
    caller("miner, others", Some("miner"), false),
    caller("operator", Some("operator"), false),
    caller("auditor", Some("auditor"), false),
    caller("admin", Some("admin"), false),
];

impl Caller {
    /// His role; a miner's address is `own`.
    pub fn role(&self) -> Option<Role> {
        let name = self.role?;
        Role::parse(name, (name == "miner").then_some("own")).ok()
    }
}

/// Which caller gets which route, for the documents: the head of the table of who gets what, and
/// its rows about routes. The pool's pages are not public in it.
pub fn access_table() -> String {
    let names: Vec<&str> = CALLERS.iter().map(|caller| caller.name).collect();
    let mut text = format!("| route or table | {} |\n", names.join(" | "));
    text.push_str(&format!("|{}\n", "---|".repeat(names.len() + 1)));
    for route in ALL {
        let cells: Vec<&str> = CALLERS
            .iter()
            .map(|caller| {
                let subject = if caller.is_own { "own" } else { "other" };
                match allows(caller.role().as_ref(), route.permission, Some(subject)) {
                    true => "yes",
                    false => "no",
                }
            })
            .collect();
        let (method, path) = (&route.method, route.path);
        text.push_str(&format!("| `{method} {path}` | {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ALL;

    #[test]
    fn every_route_is_listed_once_and_documented() {
        let mut seen = HashSet::new();
        for route in ALL {
            let name = format!("{} {}", route.method, route.path);
            assert!(seen.insert(name.clone()), "{name} is listed twice");
            assert!(route.path.starts_with('/'), "{name}");
            assert!(route.doc.ends_with('.') && route.doc.len() > 20, "{name}");
            assert!(!route.doc.contains('|'), "{name}");
        }
    }
}
