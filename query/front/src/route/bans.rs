//! `/api/v1/bans`: who is kept out of the pool. The pool's process brings the handlers.

use axum::http::Method;

use crate::access::Permission;
use crate::route::{Handler, Route};

/// The path; the command uses it too.
pub const PATH: &str = "/api/v1/bans";

pub(crate) static LIST: Route = Route {
    method: Method::GET,
    path: PATH,
    permission: Permission::ReadPersonal,
    doc: "Who is kept out, on the process that runs the pool.",
    handler: Handler::Service,
};

pub(crate) static BAN: Route = Route {
    method: Method::POST,
    path: PATH,
    permission: Permission::Operate,
    doc: "Keeps an address, a block of addresses or one worker out: `address`, `reason`, and \
          `wallet` with `worker`, `for_s`.",
    handler: Handler::Service,
};

pub(crate) static LIFT: Route = Route {
    method: Method::DELETE,
    path: PATH,
    permission: Permission::Operate,
    doc: "Lets somebody in again: `?address=`, and `&wallet=` with `&worker=` for one miner.",
    handler: Handler::Service,
};
