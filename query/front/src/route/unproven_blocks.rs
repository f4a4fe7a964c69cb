//! `/api/v1/unproven-blocks`: blocks that carry the pool's tag without a proof. The pool's process
//! brings the handlers.

use axum::http::Method;

use crate::access::Permission;
use crate::route::schema::{Param, RequestBody, Schema, ValueType};
use crate::route::{Handler, Route};

/// The path; the command uses it too.
pub const PATH: &str = "/api/v1/unproven-blocks";

pub(crate) static LIST: Route = Route {
    method: Method::GET,
    path: PATH,
    permission: Permission::Read,
    doc: "Blocks that wait for an operator's decision, on the process that runs the pool.",
    schema: Schema::JSON,
    handler: Handler::Service,
};

pub(crate) static DECIDE: Route = Route {
    method: Method::POST,
    path: PATH,
    permission: Permission::Operate,
    doc: "An operator's decision about such a block: `hash`, and `verdict` confirm or reject.",
    schema: Schema {
        body: RequestBody::Json(&[
            Param::text("hash", "The block's hash, 64 hex digits.").required(),
            Param::new(
                "verdict",
                ValueType::OneOf(&["confirm", "reject"]),
                "Whether miners are paid for it.",
            )
            .required(),
        ]),
        ..Schema::JSON
    },
    handler: Handler::Service,
};
