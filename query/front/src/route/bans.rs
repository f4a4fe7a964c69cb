//! `/api/v1/bans`: who is kept out of the pool. The pool's process brings the handlers.

use axum::http::Method;

use crate::access::Permission;
use crate::route::schema::{Param, RequestBody, Schema};
use crate::route::{Handler, Route};

/// The path; the command uses it too.
pub const PATH: &str = "/api/v1/bans";

const BANNED: Param = Param::text(
    "address",
    "An address, or a block of addresses such as 203.0.113.0/24.",
)
.required();
const WALLET: Param = Param::text(
    "wallet",
    "With the worker: only this worker of this wallet.",
);
const WORKER: Param = Param::text("worker", "The worker's name.");

pub(crate) static LIST: Route = Route {
    method: Method::GET,
    path: PATH,
    permission: Permission::ReadPersonal,
    doc: "Who is kept out, on the process that runs the pool.",
    schema: Schema::JSON,
    handler: Handler::Service,
};

pub(crate) static BAN: Route = Route {
    method: Method::POST,
    path: PATH,
    permission: Permission::Operate,
    doc: "Keeps an address, a block of addresses or one worker out: `address`, `reason`, and \
          `wallet` with `worker`, `for_s`.",
    schema: Schema {
        body: RequestBody::Json(&[
            BANNED,
            WALLET,
            WORKER,
            Param::text("reason", "Why, for the rows and whoever asks later.").required(),
            Param::integer("for_s", 1, i64::MAX, "Seconds it lasts; for ever without."),
        ]),
        ..Schema::MADE
    },
    handler: Handler::Service,
};

pub(crate) static LIFT: Route = Route {
    method: Method::DELETE,
    path: PATH,
    permission: Permission::Operate,
    doc: "Lets somebody in again: `?address=`, and `&wallet=` with `&worker=` for one miner.",
    schema: Schema {
        query: &[BANNED, WALLET, WORKER],
        ..Schema::JSON
    },
    handler: Handler::Service,
};
