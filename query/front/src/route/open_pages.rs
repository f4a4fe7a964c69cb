//! `GET /api/v1/console`: who asks, and which pages of the console have something to show him.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::access::{Permission, Principal, Proof};
use crate::app_state::AppState;
use crate::console;
use crate::route::me;
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/console",
    permission: Permission::Anybody,
    doc: "For the console's menu: who asks, null for a stranger, the pages whose data he may read, \
          and a digest that changes with the console itself.",
    schema: Schema::JSON,
    handler: Handler::Front(|| get(open_pages)),
};

async fn open_pages(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
) -> Json<Value> {
    let is_known = principal.proof != Proof::Nothing;
    let own = principal.role.as_ref().and_then(|role| role.address());
    let is_open = |permission: Permission| {
        permission.is_page() && app.config.public_pages || principal.allows(permission, own)
    };
    let pages = console::ALL
        .iter()
        .filter(|page| is_open(page.permission()));
    let pages: Vec<&str> = pages
        .filter_map(|page| page.paths().first().copied())
        .collect();
    Json(json!({
        "principal": is_known.then(|| me::to_json(&principal)),
        "may_operate": principal.allows(Permission::Operate, None),
        "pages": pages,
        "digest": console::digest(),
    }))
}
