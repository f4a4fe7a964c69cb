//! `/api/v1/unproven-blocks`: blocks that carry the pool's tag without a proof. The pool's process
//! brings the handlers.

use axum::http::Method;

use crate::access::Permission;
use crate::route::{Handler, Route};

/// The path; the command uses it too.
pub const PATH: &str = "/api/v1/unproven-blocks";

pub(crate) static LIST: Route = Route {
    method: Method::GET,
    path: PATH,
    permission: Permission::Read,
    doc: "Blocks that wait for an operator's decision, on the process that runs the pool.",
    handler: Handler::Service,
};

pub(crate) static DECIDE: Route = Route {
    method: Method::POST,
    path: PATH,
    permission: Permission::Operate,
    doc: "An operator's decision about such a block: `hash`, and `verdict` confirm or reject.",
    handler: Handler::Service,
};
