//! `GET /live`: the process answers.

use axum::http::Method;
use axum::routing::get;

use crate::access::Permission;
use crate::route::schema::{ResponseBody, Schema};
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/live",
    permission: Permission::Probe,
    doc: "Answers `ok` while the process lives.",
    schema: Schema {
        response: ResponseBody::Text,
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(async || "ok\n")),
};
