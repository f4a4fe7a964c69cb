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

pub mod bans;
mod blocks;
mod health;
mod ingest;
mod instructions;
mod live;
mod live_sql;
mod login;
mod me;
mod metrics_page;
mod miner;
pub mod openapi;
mod payments;
mod payouts;
mod pool;
mod ready;
mod rows;
mod running_queries;
pub mod schema;
mod setup;
mod sql;
mod threshold;
pub mod unproven_blocks;
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
        matches!(self.handler, Handler::Page(_))
    }

    /// Whether answers have an ETag, and a `Link` where they are pages of a list.
    pub fn answers_etag(&self) -> bool {
        self.method == Method::GET && matches!(self.handler, Handler::Page(_))
    }

    /// Whether an address that is only refused here waits for its refusals.
    pub(crate) fn holds_refusals(&self) -> bool {
        matches!(
            self.handler,
            Handler::Statement(_) | Handler::Subscription(_)
        )
    }

    /// Whether an answer goes on for so long that its permission is to be asked for again.
    pub(crate) fn is_ongoing(&self) -> bool {
        matches!(self.handler, Handler::Subscription(_))
    }
}

/// What answers a route.
pub(crate) enum Handler {
    /// A function of this crate.
    Front(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for a function that reads tables and needs a slot of its caller's class.
    Page(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for a function that runs what somebody typed: it has slots of its own, and its
    /// refusals are held back.
    Statement(fn() -> MethodRouter<Arc<AppState>>),
    /// The same for one whose answer goes on.
    Subscription(fn() -> MethodRouter<Arc<AppState>>),
    /// What [`crate::Services::handlers`] has for this method and path; 404 in a process without
    /// it.
    Service,
}

/// Every route of the server.
pub static ALL: &[&Route] = &[
    &live::ROUTE,
    &health::ROUTE,
    &ready::ROUTE,
    &metrics_page::ROUTE,
    &openapi::ROUTE,
    &login::LOGIN,
    &login::LOGOUT,
    &me::ROUTE,
    &setup::ROUTE,
    &sql::POST,
    &sql::GET,
    &running_queries::CANCEL,
    &live_sql::ROUTE,
    &rows::ROUTE,
    &ingest::ROUTE,
    &pool::ROUTE,
    &blocks::ROUTE,
    &payouts::OF_BLOCK,
    &payouts::KEY,
    &miner::ROUTE,
    &workers::ROUTE,
    &payouts::OF_MINER,
    &payments::OF_MINER,
    &threshold::ROUTE,
    &payments::LIST,
    &payments::STATE,
    &payments::LEDGER,
    &instructions::ROUTE,
    &bans::LIST,
    &bans::BAN,
    &bans::LIFT,
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

/// The columns of [`access_table`]: a caller, the role it has, and whether a page that names a
/// miner is its own.
const CALLERS: &[(&str, Option<&str>, bool)] = &[
    ("nobody", None, false),
    ("viewer", Some("viewer"), false),
    ("miner, its own", Some("miner"), true),
    ("miner, others", Some("miner"), false),
    ("operator", Some("operator"), false),
    ("auditor", Some("auditor"), false),
    ("admin", Some("admin"), false),
];

/// Which role gets which route, for the documents. The pool's pages are not public in it.
pub fn access_table() -> String {
    let names: Vec<&str> = CALLERS.iter().map(|(name, ..)| *name).collect();
    let mut text = format!("| route | {} |\n", names.join(" | "));
    text.push_str(&format!("|{}\n", "---|".repeat(names.len() + 1)));
    for route in ALL {
        let cells: Vec<&str> = CALLERS
            .iter()
            .map(|(_, role, is_own)| {
                let role = role
                    .and_then(|name| Role::parse(name, (name == "miner").then_some("own")).ok());
                let subject = if *is_own { "own" } else { "other" };
                match allows(role.as_ref(), route.permission, Some(subject)) {
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
