//! `GET /api/v1/openapi.json`: this port as generators of clients read it.

use std::sync::LazyLock;

use axum::http::{Method, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::access::Permission;
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

mod document;
mod items;
mod values;

pub use document::{document, operation_id};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/openapi.json",
    permission: Permission::Probe,
    doc: "Every route of this list as an OpenAPI 3.1 document, for generators of clients.",
    schema: Schema::JSON,
    handler: Handler::Front(|| get(answer)),
};

async fn answer() -> impl IntoResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());
    (
        [(header::CONTENT_TYPE, "application/json")],
        DOCUMENT.as_str(),
    )
}
