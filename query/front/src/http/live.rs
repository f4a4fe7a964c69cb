//! `GET /live`: the process answers.

use axum::routing::get;

use crate::http::Route;

pub(crate) fn route() -> Route {
    Route {
        path: "/live",
        methods: get(async || "ok\n"),
    }
}
