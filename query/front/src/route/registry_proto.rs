//! `GET /api/v1/registry.proto`: the registry over gRPC as generators of clients read it.

use std::sync::LazyLock;

use axum::http::Method;
use axum::routing::get;
use headframe_schemas::resource::proto;

use crate::access::Permission;
use crate::route::schema::{ResponseBody, Schema};
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/registry.proto",
    permission: Permission::Probe,
    doc: "The messages and calls of the registry over gRPC, for generators of clients.",
    schema: Schema {
        response: ResponseBody::Text,
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(answer)),
};

async fn answer() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(proto::text);
    &TEXT
}
