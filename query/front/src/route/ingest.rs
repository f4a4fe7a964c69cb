//! `POST /api/v1/ingest/{stream}`: takes rows. The ingest crate brings the handler.

use axum::http::Method;

use crate::access::Permission;
use crate::route::schema::{Param, RequestBody, Schema};
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::POST,
    path: "/api/v1/ingest/{stream}",
    permission: Permission::WriteStream,
    doc: "Takes rows of a stream as NDJSON, a JSON array or Arrow; 200 means every row is stored.",
    schema: Schema {
        path: &[Param::text("stream", "The stream.").required()],
        headers: &[
            Param::text("Headframe-Producer", "Who numbers its requests."),
            Param::integer(
                "Headframe-Seq",
                0,
                i64::MAX,
                "The number of the request; one that was taken before is not taken again.",
            ),
            Param::text(
                "Headframe-Site",
                "The site that forwards rows of its own JetStream: rows that name their own \
                 producer keep it.",
            ),
        ],
        body: RequestBody::Bytes(&[
            "application/x-ndjson",
            "application/json",
            "application/vnd.apache.arrow.stream",
        ]),
        ..Schema::JSON
    },
    handler: Handler::Service,
};
