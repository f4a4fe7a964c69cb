//! `GET /api/v1/console`: who asks, and which pages of the console have something to show him.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use axum::{Extension, Json};
use serde_json::Value;

use crate::access::{Permission, Principal};
use crate::app_state::AppState;
use crate::console;
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
    let is_open = |permission: Permission| permission.is_page() && app.config.public_pages;
    Json(console::POOL.describe_for(&principal, is_open))
}
