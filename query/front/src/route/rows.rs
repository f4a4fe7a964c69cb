//! `GET /api/v1/streams/{stream}/rows`: the rows of a stream as they come, after those there were.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use crate::access::{OngoingAccess, Permission, Principal, check_own_origin};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::event_stream;
use crate::live::{Position, Start, Subscriber, Subscription, View};
use crate::peer::LimitedAddress;
use crate::query_params::QueryParams;
use crate::route::schema::{Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

mod web_socket;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const HINT: &str = "begin with after=SEQ or after=SEQ.ROW, from=2026-01-31T12:00:00Z, from=oldest, \
                    or with nothing for what comes now";

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/streams/{stream}/rows",
    permission: Permission::Read,
    doc: "The rows of a stream as Server-Sent Events: those after `?after=` or `?from=`, then what \
          comes; `?where=` a condition, `?columns=`. A client that comes back with \
          `Last-Event-ID` misses none. With `Upgrade: websocket` the same over a WebSocket.",
    schema: Schema {
        path: &[Param::text("stream", "The name of the stream.").required()],
        query: &[
            Param::text("after", "The place to begin after: `seq` or `seq.row`."),
            Param::text("from", "The time to begin at, or `oldest`."),
            Param::text("where", "SQL that is true for the rows that are wanted."),
            Param::text(
                "columns",
                "The columns that are wanted, with commas between.",
            ),
        ],
        headers: &[Param::text(
            "Last-Event-ID",
            "The place to begin after, before `after`.",
        )],
        response: ResponseBody::Events,
        ..Schema::JSON
    },
    handler: Handler::Subscription(|| get(rows)),
};

/// What a subscriber asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    after: Option<String>,
    from: Option<String>,
    #[serde(rename = "where")]
    condition: Option<String>,
    columns: Option<String>,
}

async fn rows(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Extension(access): Extension<Arc<OngoingAccess>>,
    Path(name): Path<String>,
    QueryParams(params): QueryParams<Params>,
    request: Request,
) -> Result<Response, QueryError> {
    let (mut parts, _) = request.into_parts();
    let upgrade = match parts.headers.contains_key(header::UPGRADE) {
        true => Some(upgrade(&mut parts).await?),
        false => None,
    };
    let live = app.subscriptions()?;
    let stream = live.stream(&name, &principal)?;
    let start = start(&parts.headers, &params)?;
    let view = View::new(
        stream,
        params.columns.as_deref(),
        params.condition.as_deref(),
    )?;
    let LimitedAddress(address) = LimitedAddress::from_request(&parts);
    let subscriber = Subscriber {
        principal,
        address,
        access,
    };
    let subscription = live.subscribe(view, start, subscriber).await?;
    Ok(match upgrade {
        Some(upgrade) => {
            let patience = Duration::from_millis(app.config.write_timeout_ms);
            web_socket::answer(upgrade, subscription, patience)
        }
        None => events(subscription),
    })
}

/// An upgrade to a WebSocket. Browsers send it for a page of any site, and say only whose it is.
async fn upgrade(parts: &mut Parts) -> Result<WebSocketUpgrade, QueryError> {
    check_own_origin(&parts.headers, &parts.uri)?;
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await;
    upgrade.map_err(|refused| {
        QueryError::bad_request(
            format!(
                "the connection cannot become a WebSocket: {}",
                refused.body_text()
            ),
            "send Upgrade: websocket with Connection: upgrade and Sec-WebSocket-Key over HTTP/1.1",
        )
    })
}

/// Where to begin: what a client that comes back was told last goes before what its address says.
fn start(headers: &HeaderMap, params: &Params) -> Result<Start, QueryError> {
    let last = headers.get(LAST_EVENT_ID);
    let last = last.map(|value| value.to_str().unwrap_or("no text"));
    if let Some(text) = last.filter(|text| !text.is_empty()) {
        return position(text).map(Start::After);
    }
    match (params.after.as_deref(), params.from.as_deref()) {
        (None, None) => Ok(Start::Now),
        (Some(text), None) => position(text).map(Start::After),
        (None, Some("oldest")) => Ok(Start::Oldest),
        (None, Some(text)) => {
            let time = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
            time.map(|nanos| Start::From(nanos.div_euclid(1_000)))
                .map_err(|_| QueryError::bad_request(format!("from={text:?} is no time"), HINT))
        }
        (Some(_), Some(_)) => Err(QueryError::bad_request(
            "after and from name two places to begin with",
            HINT,
        )),
    }
}

fn position(text: &str) -> Result<Position, QueryError> {
    Position::parse(text)
        .ok_or_else(|| QueryError::bad_request(format!("{text:?} is no place in a stream"), HINT))
}

/// An answer that goes on until either side ends it.
fn events(subscription: Subscription) -> Response {
    event_stream::answer(subscription, async |mut subscription| {
        let event = subscription.next().await?;
        Some((event.to_sse(), subscription))
    })
}
