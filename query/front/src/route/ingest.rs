//! `POST /api/v1/ingest/{stream}`: takes rows. The ingest crate brings the handler.

use axum::http::Method;

use crate::access::Permission;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::POST,
    path: "/api/v1/ingest/{stream}",
    permission: Permission::WriteStream,
    doc: "Takes rows of a stream as NDJSON, a JSON array or Arrow; 200 means every row is stored.",
    handler: Handler::Service,
};
