//! `GET /api/v1/streams/{stream}/rows`: the rows of a stream as they come, after those there were.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, header};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use crate::access::browser::check_own_origin;
use crate::access::{MessageLogin, OngoingAccess, Permission, Principal};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::event_stream;
use crate::live::{Start, Subscriber, Subscription, View};
use crate::peer::LimitedAddress;
use crate::query_params::QueryParams;
use crate::route::rows::web_socket::{PendingLogin, SocketTimeouts};
use crate::route::schema::{Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

mod web_socket;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const HINT: &str = "begin with after=SEQ or after=SEQ.ROW (a miner with the id of an event), \
                    from=2026-01-31T12:00:00Z, from=oldest, or with nothing for what comes now";

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/streams/{stream}/rows",
    permission: Permission::ReadRows,
    doc: "The rows of a stream as Server-Sent Events: those after `?after=` or `?from=`, then what \
          comes; `?where=` a condition, `?columns=`. A client that comes back with \
          `Last-Event-ID` misses none. With `Upgrade: websocket` the same over a WebSocket. A \
          miner gets its own rows.",
    schema: Schema {
        path: &[Param::text("stream", "The name of the stream.").required()],
        query: &[
            Param::text(
                "after",
                "The place to begin after: `seq` or `seq.row`, or a miner's id of an event.",
            ),
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
        statuses: &[200, 101],
        ..Schema::JSON
    },
    handler: Handler::Socket(|| get(rows)),
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

/// A subscription that is asked for, whoever asks.
struct Wanted {
    app: Arc<AppState>,
    stream: String,
    params: Params,
    /// What a client that comes back was told last.
    last_event_id: Option<String>,
    address: IpAddr,
}

impl Wanted {
    async fn subscribe(
        &self,
        principal: Principal,
        access: Arc<OngoingAccess>,
    ) -> Result<Subscription, QueryError> {
        let live = self.app.subscriptions()?;
        let (columns, condition) = (&self.params.columns, &self.params.condition);
        let (columns, condition) = (columns.as_deref(), condition.as_deref());
        let view = live.view(&self.stream, &principal, columns, condition)?;
        let start = start(&view, self.last_event_id.as_deref(), &self.params)?;
        let subscriber = Subscriber {
            principal,
            address: self.address,
            access,
        };
        live.subscribe(view, start, subscriber).await
    }
}

async fn rows(
    State(app): State<Arc<AppState>>,
    Path(stream): Path<String>,
    QueryParams(params): QueryParams<Params>,
    request: Request,
) -> Result<Response, QueryError> {
    let (mut parts, _) = request.into_parts();
    let upgrade = match parts.headers.contains_key(header::UPGRADE) {
        true => Some(upgrade(&mut parts).await?),
        false => None,
    };
    let last_event_id = parts.headers.get(LAST_EVENT_ID);
    let last_event_id = last_event_id.map(|value| value.to_str().unwrap_or("no text"));
    let LimitedAddress(address) = LimitedAddress::from_request(&parts);
    let wanted = Wanted {
        stream,
        params,
        last_event_id: last_event_id.map(str::to_owned),
        address,
        app,
    };
    let timeouts = SocketTimeouts::from_config(&wanted.app.config);
    let login = parts.extensions.remove::<Arc<MessageLogin>>();
    let principal = parts.extensions.remove::<Principal>();
    let access = parts.extensions.remove::<Arc<OngoingAccess>>();
    match (upgrade, principal.zip(access), login) {
        (None, Some((principal, access)), _) => {
            Ok(events(wanted.subscribe(principal, access).await?))
        }
        (Some(upgrade), Some((principal, access)), login) => {
            let subscription = wanted.subscribe(principal, access).await?;
            let answer = web_socket::answer(upgrade, subscription, login, timeouts);
            Ok(answer)
        }
        (Some(upgrade), None, Some(login)) => {
            let seat = wanted.app.subscriptions()?.admit_arrival(address)?;
            let subscribe =
                async move |principal, access| wanted.subscribe(principal, Arc::new(access)).await;
            let pending = PendingLogin { login, seat };
            let answer = web_socket::answer_login(upgrade, pending, subscribe, timeouts);
            Ok(answer)
        }
        (_, None, _) => Err(QueryError::internal("a subscription is of nobody")),
    }
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
fn start(view: &View, last: Option<&str>, params: &Params) -> Result<Start, QueryError> {
    let place = |text: &str| {
        let place = view.ids().read(text);
        place
            .map(Start::After)
            .ok_or_else(|| QueryError::bad_request(format!("{text:?} is no place here"), HINT))
    };
    if let Some(text) = last.filter(|text| !text.is_empty()) {
        return place(text);
    }
    match (params.after.as_deref(), params.from.as_deref()) {
        (None, None) => Ok(Start::Now),
        (Some(text), None) => place(text),
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

/// An answer that goes on until either side ends it.
fn events(subscription: Subscription) -> Response {
    event_stream::answer(subscription, async |mut subscription| {
        let event = subscription.next().await?;
        Some((event.to_sse(), subscription))
    })
}
