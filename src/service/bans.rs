//! `/api/v1/bans`: how an operator lists, makes and lifts bans. It answers where the pool runs.
//!
//! A wallet cannot be banned alone, here as little as by the pool itself: anybody can mine for
//! anybody's wallet.

use std::net::IpAddr;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, routing};
pub use headframe_query_front::route::bans::PATH;
use headframe_query_front::{ErrorCode, QueryError, RouteHandler};
use headframe_stratum::BanStore;
use headframe_stratum::defence::addresses::{Cidr, ClientAddress};
use headframe_stratum::defence::bans::{Ban, BanTarget};
use headframe_stratum::defence::worker_id::WorkerId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is said when nobody is banned so.
pub const NO_SUCH_BAN: &str = "there is no such ban";
/// The fewest leading bits of a block that one order may keep out, of IPv4 and of IPv6: fewer are
/// hardly ever meant.
const MIN_PREFIX_BITS: (u8, u8) = (8, 16);
/// Characters of a reason: it goes into rows.
const MAX_REASON_CHARS: usize = 200;

/// Whom a ban is about, as a body or as the parameters of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct BanSubject {
    /// An address, or a block of addresses such as 203.0.113.0/24.
    pub address: String,
    /// With the worker: only this worker of this wallet at that address.
    #[arg(long, requires = "worker")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
    /// The worker's name.
    #[arg(long, requires = "wallet")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// A ban by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Whom; `address` is an address or a block.
    pub address: String,
    /// With the worker: only this worker of this wallet at that address.
    #[arg(long, requires = "worker")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
    /// The worker's name.
    #[arg(long, requires = "wallet")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Why, for the rows and whoever asks later.
    #[arg(long)]
    pub reason: String,
    /// Seconds it lasts; until it is lifted when absent.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// Mean it: a block wider than /8, or /16 of IPv6, may be kept out.
    #[arg(long)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everybody: bool,
}

/// What answers the routes of a running pool.
pub fn handlers(bans: BanStore) -> Vec<RouteHandler> {
    [
        (Method::GET, routing::get(list)),
        (Method::POST, routing::post(ban)),
        (Method::DELETE, routing::delete(lift)),
    ]
    .map(|(method, answers)| RouteHandler {
        method,
        path: PATH,
        answers: answers.with_state(bans.clone()),
    })
    .into()
}

async fn list(State(bans): State<BanStore>) -> Json<Value> {
    Json(json!({"bans": bans.list().iter().map(to_json).collect::<Vec<_>>()}))
}

async fn ban(
    State(bans): State<BanStore>,
    request: Result<Json<BanRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let hint = r#"send {"address": "203.0.113.7", "reason": "…"}, and wallet with worker for one \
                                                               miner, for_s for a ban that ends"#;
    let Json(request) =
        request.map_err(|error| QueryError::new(ErrorCode::BadRequest, error.body_text(), hint))?;
    let subject = parse_subject(&request.address, request.wallet, request.worker)?;
    check_width(&subject, request.everybody)?;
    let reason = request.reason.trim();
    if reason.is_empty()
        || reason.chars().count() > MAX_REASON_CHARS
        || reason.chars().any(char::is_control)
    {
        return Err(QueryError::new(
            ErrorCode::BadRequest,
            "reason must be 1 to 200 characters on one line",
            hint,
        ));
    }
    if request.for_s == Some(0) {
        return Err(QueryError::new(
            ErrorCode::BadRequest,
            "for_s must be at least 1",
            "leave it out for a ban until it is lifted",
        ));
    }
    let made = bans
        .ban(subject, reason, request.for_s)
        .await
        .map_err(not_saved)?;
    Ok((StatusCode::CREATED, Json(to_json(&made))).into_response())
}

async fn lift(
    State(bans): State<BanStore>,
    subject: Result<Query<BanSubject>, QueryRejection>,
) -> Result<Json<Value>, QueryError> {
    let hint =
        "name the ban as the list shows it: ?address=…, and &wallet=…&worker=… for one miner";
    let Query(subject) =
        subject.map_err(|error| QueryError::new(ErrorCode::BadRequest, error.body_text(), hint))?;
    let subject = parse_subject(&subject.address, subject.wallet, subject.worker)?;
    match bans.unban(&subject).await.map_err(not_saved)? {
        Some(lifted) => Ok(Json(to_json(&lifted))),
        None => Err(QueryError::new(ErrorCode::NotFound, NO_SUCH_BAN, hint)),
    }
}

fn parse_subject(
    address: &str,
    wallet: Option<String>,
    worker: Option<String>,
) -> Result<BanTarget, QueryError> {
    let refused =
        |message: String, hint: &str| Err(QueryError::new(ErrorCode::BadRequest, message, hint));
    let single = address.parse::<IpAddr>().ok();
    match (single, wallet, worker) {
        (Some(address), None, None) => Ok(BanTarget::Address(ClientAddress::new(address))),
        (Some(address), Some(wallet), Some(worker)) => Ok(BanTarget::Session(WorkerId {
            origin: ClientAddress::new(address),
            wallet,
            worker,
        })),
        (None, None, None) => match address.parse::<Cidr>() {
            Ok(block) => Ok(BanTarget::Network(block)),
            Err(error) => refused(error.to_string(), "an address or a block of addresses"),
        },
        (None, ..) => refused(
            format!("{address:?} is no single address"),
            "a worker is banned at one address, never by its wallet alone",
        ),
        _ => refused(
            "wallet and worker belong together".to_owned(),
            "give both, or neither for everybody at that address",
        ),
    }
}

/// Refuses a block of so many addresses that it must be a mistake, unless the operator insists.
fn check_width(subject: &BanTarget, everybody: bool) -> Result<(), QueryError> {
    let BanTarget::Network(block) = subject else {
        return Ok(());
    };
    let text = block.to_string();
    let least = if text.contains(':') {
        MIN_PREFIX_BITS.1
    } else {
        MIN_PREFIX_BITS.0
    };
    let bits = text
        .rsplit_once('/')
        .and_then(|(_, bits)| bits.parse::<u8>().ok());
    if everybody || bits.is_some_and(|bits| bits >= least) {
        return Ok(());
    }
    let message =
        format!("{text} is wider than /{least} and would keep out a large part of all miners");
    let hint =
        "name a smaller block; if it is meant, say --everybody (over HTTP \"everybody\": true)";
    Err(QueryError::new(ErrorCode::BadRequest, message, hint))
}

fn not_saved(error: headframe_stratum::defence::ban_store::BanStoreError) -> QueryError {
    QueryError::new(
        ErrorCode::Storage,
        error.to_string(),
        "the list of bans says what is in force",
    )
}

fn to_json(ban: &Ban) -> Value {
    let mut value = json!({
        "kind": ban.subject.as_str(), "reason": ban.reason, "score": ban.score,
        "since_ms": ban.since_ms, "until_ms": ban.until_ms,
        "manual": ban.manual, "times": ban.times,
    });
    match &ban.subject {
        BanTarget::Address(origin) => value["address"] = json!(origin.address()),
        BanTarget::Network(block) => value["address"] = json!(block.to_string()),
        BanTarget::Session(WorkerId {
            origin,
            wallet,
            worker,
        }) => {
            value["address"] = json!(origin.address());
            value["wallet"] = json!(wallet);
            value["worker"] = json!(worker);
        }
    }
    value
}
