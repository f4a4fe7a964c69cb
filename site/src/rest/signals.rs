//! What people and programs give to signals, and what pages of signals said.

use axum::extract::{Path, State};
use axum::response::Json;
use axum::routing::{get, post};
use axum::{Extension, Router};
use headframe_query_front::access::Principal;
use headframe_query_front::{ErrorCode, QueryError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Routes;
use super::orders::{Body, give, giver, read as read_body};
use crate::control::order::Order;
use crate::signal::RawBody;

/// Bytes of the bodies of one answer.
const MOST_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn order_routes() -> Router<Routes> {
    Router::new()
        .route("/api/v1/site/signals/{name}", post(give_signal))
        .route(
            "/api/v1/site/signals/{name}/accept-layout",
            post(accept_layout),
        )
}

pub(super) fn read() -> Router<Routes> {
    Router::new().route("/api/v1/site/signals/{name}/evidence", get(evidence))
}

fn no_signal(name: &str) -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        format!("there is no signal {name:?}"),
        "/api/v1/site lists those that there are",
    )
}

async fn give_signal(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    body: Body<Value>,
) -> Result<Json<Value>, QueryError> {
    let body = read_body(
        body,
        "send what docs/site-controller.md says of the signal's kind",
    )?;
    let given = routes.signals.give(&name, body, &giver(&principal, None));
    given.map_err(|error| match error {
        Some(reason) => QueryError::bad_request(reason, "docs/site-controller.md"),
        None => no_signal(&name),
    })?;
    routes.inbox.kept().await;
    let is_durable = routes.current()?.is_durable;
    Ok(Json(json!({"done": true, "durable": is_durable})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptBody {
    by: Option<String>,
    reason: String,
    layout: String,
}

/// The order is written down before it counts. What the page has by then is looked at again.
async fn accept_layout(
    State(routes): State<Routes>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    body: Body<AcceptBody>,
) -> Result<Json<Value>, QueryError> {
    let hint = "send {\"layout\": FINGERPRINT, \"reason\": WHY IT IS RIGHT, \"by\": NAME}; the \
                fingerprint stands beside the signal in /api/v1/site";
    let AcceptBody { by, reason, layout } = read_body(body, hint)?;
    let conflict = |reason: String| QueryError::new(ErrorCode::Conflict, reason, hint);
    if routes.signals.evidence(&name).is_none() {
        return Err(no_signal(&name));
    }
    let shown = routes.signals.layout(&name);
    let seen = shown.and_then(|shown| shown.seen);
    if seen.as_ref() != Some(&layout) {
        return Err(conflict(match seen {
            Some(seen) => format!("the page has the layout {seen}, not {layout}: look at it again"),
            None => "no page with a layout that is checked was read".to_owned(),
        }));
    }
    let order = Order::AcceptLayout {
        by: giver(&principal, by.as_deref()),
        reason,
        signal: name.clone(),
        layout: layout.clone(),
    };
    let answer = give(&routes, order).await?;
    let accepted = routes.signals.accept_layout(&name, &layout);
    accepted.map_err(|error| error.map_or_else(|| no_signal(&name), conflict))?;
    routes.inbox.kept().await;
    Ok(answer)
}

/// The last bodies as they came, the newest first; equal ones after each other are one.
async fn evidence(
    State(routes): State<Routes>,
    Path(name): Path<String>,
) -> Result<Json<Value>, QueryError> {
    let bodies = routes.signals.evidence(&name);
    let bodies = bodies.ok_or_else(|| no_signal(&name))?;
    let (shown, left_off) = shown(&bodies);
    Ok(Json(
        json!({"signal": name, "layout": routes.signals.layout(&name), "bodies": shown,
        "left_off": left_off}),
    ))
}

/// Bodies as JSON, and how many more there are.
fn shown(bodies: &[RawBody]) -> (Vec<Value>, usize) {
    let runs: Vec<&[RawBody]> = bodies.chunk_by(|a, b| a.body == b.body).collect();
    let mut bytes = 0;
    let mut shown = Vec::new();
    for run in runs.iter().rev() {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        bytes += last.body.len();
        if bytes > MOST_BYTES && !shown.is_empty() {
            break;
        }
        shown.push(
            json!({"first_at_us": first.at.utc_us, "last_at_us": last.at.utc_us,
            "reads": run.len(), "bytes": last.body.len(),
            "text": String::from_utf8_lossy(&last.body)}),
        );
    }
    let left_off = runs.len() - shown.len();
    (shown, left_off)
}
