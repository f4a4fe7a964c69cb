//! `POST /api/v1/setup`: the first admin, made by whoever has the token that the first start
//! printed.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;

use crate::access::Permission;
use crate::access::accounts::{AccountError, Wire};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::route::login::{MAX_BODY_BYTES, unavailable};
use crate::route::schema::{Param, RequestBody, Schema};
use crate::route::{Handler, Route};

const HINT: &str =
    "send {\"token\", \"name\", \"password\"}; a start without users prints a new token";

/// Who becomes the first admin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupRequest {
    token: String,
    name: String,
    password: String,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::POST,
    path: "/api/v1/setup",
    permission: Permission::Anybody,
    doc: "Makes the first admin: `{\"token\", \"name\", \"password\"}` with the token that a start \
          without users prints. It works once.",
    schema: Schema {
        body: RequestBody::Json(&[
            Param::text("token", "The token that the start printed.").required(),
            Param::text("name", "The name of the first admin.").required(),
            Param::text("password", "Its password, of at least 12 characters.").required(),
        ]),
        ..Schema::JSON
    },
    handler: Handler::Front(|| post(setup).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))),
};

async fn setup(
    State(app): State<Arc<AppState>>,
    body: Result<Json<SetupRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let Json(request) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    let accepted =
        app.accounts()?
            .accept_setup(Wire::Http, &request.token, &request.name, &request.password);
    match accepted.await {
        Ok(()) => Ok(Json(json!({"done": true, "name": request.name})).into_response()),
        Err(AccountError::Store(error)) => Err(unavailable(error)),
        Err(error @ AccountError::Setup) => Err(QueryError::new(
            ErrorCode::Unauthorized,
            error.to_string(),
            HINT,
        )),
        Err(error) => Err(QueryError::bad_request(error.to_string(), HINT)),
    }
}
