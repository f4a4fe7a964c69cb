//! The coordinator's routes for programs and for its pages: REST, metrics and a WebSocket.
//!
//! What each asks of its caller stands beside it; the pages themselves are the console's.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use headframe_query_front::access::process_accounts::ProcessAccounts;
use headframe_query_front::access::token_sign_in::{
    self, Gate, MAX_BODY_BYTES, TokenAccess, TokenServer, guard,
};
use headframe_query_front::access::{Permission, Principal};
use headframe_query_front::console::coopmine::COOPMINE;
use headframe_query_front::{ErrorCode, QueryError, security_headers};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::hashrate;
use super::shared_cluster::SharedCluster;
use crate::cluster::CommandKind;
use crate::config::CoordinatorConfig;

/// Between messages of a WebSocket at least.
const MESSAGE_EVERY: Duration = Duration::from_secs(1);
/// WebSockets at a time.
const SOCKETS: usize = 64;

/// What visitors know it by.
static SERVER: TokenServer = TokenServer {
    noun: "coordinator",
    key: "dashboard.token",
    cookie: "coopmine_session",
    purpose: "coopmine session",
    describe: |principal| COOPMINE.describe_for(principal, |_| false),
};

#[derive(Clone)]
struct Pages {
    cluster: Arc<SharedCluster>,
    access: Arc<TokenAccess>,
    id: Arc<str>,
    name: Arc<str>,
    sockets: Arc<Semaphore>,
}

/// All routes; `accounts` are those of a process that has some.
pub(super) fn router(
    cluster: Arc<SharedCluster>,
    config: &CoordinatorConfig,
    accounts: Option<Arc<dyn ProcessAccounts>>,
) -> Router {
    let access = TokenAccess::with_accounts(&SERVER, &config.dashboard.token, accounts);
    let pages = Pages {
        cluster: cluster.clone(),
        access: access.clone(),
        id: config.cluster.id.as_str().into(),
        name: config.cluster.name.as_str().into(),
        sockets: Arc::new(Semaphore::new(SOCKETS)),
    };
    let gate = |permission| {
        let access = access.clone();
        from_fn_with_state(Gate { access, permission }, guard)
    };
    let read = Router::new()
        .route("/api/stats", get(stats))
        .route("/api/workers", get(workers))
        .route("/api/workers/{id}", get(worker))
        .route("/api/jobs", get(jobs))
        .route("/api/shares", get(shares))
        .route("/metrics", get(metrics))
        .route("/ws", get(socket))
        .with_state(pages.clone())
        .merge(hashrate::routes(cluster))
        .route_layer(gate(Permission::Read));
    let operate = Router::new()
        .route("/api/workers/{id}/commands", post(command))
        .route_layer(gate(Permission::Operate))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(pages.clone());
    let health = Router::new()
        .route("/health", get(health))
        .with_state(pages);
    read.merge(operate)
        .merge(health)
        .merge(token_sign_in::routes(access))
        .merge(COOPMINE.routes())
        .fallback(no_such_path)
        .layer(map_response(security_headers::add))
}

async fn no_such_path(uri: Uri) -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        format!("there is nothing at {}", uri.path()),
        "docs/coopmine-setup.md lists every path",
    )
}

fn no_such_worker() -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        "there is no such worker",
        "/api/workers lists those that there are",
    )
}

async fn health(State(pages): State<Pages>) -> Response {
    let (summary, is_connected) = pages
        .cluster
        .read(|cluster, now| (cluster.summary(now), cluster.is_connected()));
    let (status, said) = if is_connected {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    };
    let workers = summary.workers_online;
    let body = json!({"status": said, "workers": workers, "pool_connected": is_connected});
    (status, Json(body)).into_response()
}

impl Pages {
    fn stats(&self) -> Value {
        let pool = self.cluster.pool();
        let stats = self.cluster.read(|cluster, now| {
            let summary = cluster.summary(now);
            let upstream = cluster.upstream_view(now);
            let job = cluster.current_job(now);
            json!({
                "workers_total": summary.workers_total,
                "workers_online": summary.workers_online,
                "workers_quarantined": summary.workers_quarantined,
                "hashrate_hs": summary.hashrate_hs,
                "hashrate_shown_hs": summary.hashrate_shown_hs,
                "hashrate_credited_hs": upstream.credited_hs,
                "shares": cluster.totals(),
                "pool_connected": upstream.connected,
                "upstream": {"address": &pool, "connected": upstream.connected,
                    "since_s": upstream.since_s, "leases": upstream.leases},
                "job": job.map(|job| json!({"id": job.id, "height": job.height,
                    "difficulty": job.difficulty, "age_s": job.age_s})),
            })
        });
        let mut body = json!({"cluster_id": &*self.id, "cluster_name": &*self.name, "pool": pool,
            "facts_lost": self.cluster.facts_lost(),
            "fencing_token": self.cluster.fencing_token()});
        if let (Some(body), Value::Object(stats)) = (body.as_object_mut(), stats) {
            body.extend(stats);
        }
        body
    }
}

async fn stats(State(pages): State<Pages>) -> Json<Value> {
    Json(pages.stats())
}

async fn workers(State(pages): State<Pages>) -> Json<Value> {
    Json(json!({"workers": pages.cluster.read(|cluster, now| cluster.workers(now))}))
}

async fn worker(State(pages): State<Pages>, Path(id): Path<String>) -> Response {
    match pages.cluster.read(|cluster, now| cluster.worker(&id, now)) {
        Some(worker) => Json(worker).into_response(),
        None => no_such_worker().into_response(),
    }
}

async fn jobs(State(pages): State<Pages>) -> Json<Value> {
    Json(json!({"jobs": pages.cluster.read(|cluster, now| cluster.jobs(now))}))
}

/// How many shares are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SharesQuery {
    limit: Option<usize>,
}

async fn shares(
    State(pages): State<Pages>,
    Query(SharesQuery { limit }): Query<SharesQuery>,
) -> Json<Value> {
    let mut shares = pages.cluster.read(|cluster, now| cluster.shares(now));
    shares.truncate(limit.unwrap_or(usize::MAX));
    Json(json!({"shares": shares}))
}

/// The body of a command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandBody {
    command: String,
    threads: Option<u32>,
    watts: Option<u32>,
}

impl CommandBody {
    fn kind(&self) -> Option<CommandKind> {
        Some(match (&*self.command, self.threads, self.watts) {
            ("pause", None, None) => CommandKind::Pause,
            ("resume", None, None) => CommandKind::Resume,
            ("shutdown", None, None) => CommandKind::Shutdown,
            ("throttle", Some(threads), None) => CommandKind::Threads(threads),
            ("throttle", None, Some(watts)) => CommandKind::Watts(watts),
            _ => return None,
        })
    }
}

async fn command(
    State(pages): State<Pages>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    body: Result<Json<CommandBody>, JsonRejection>,
) -> Response {
    let kind = body.ok().and_then(|Json(body)| body.kind());
    let Some(kind) = kind else {
        let hint = "send {\"command\": \"pause\" | \"resume\" | \"shutdown\"} or {\"command\": \
                    \"throttle\", \"threads\" | \"watts\": N}";
        return QueryError::bad_request("this is no command", hint).into_response();
    };
    let given = pages
        .cluster
        .change(|cluster, now| match cluster.command(&id, kind, now) {
            Some((number, action)) => (Some(number), vec![action]),
            None => (None, Vec::new()),
        });
    let Some(number) = given else {
        return no_such_worker().into_response();
    };
    let (command, proof) = (kind.as_str(), principal.proof.as_str());
    let by = &principal.name;
    tracing::info!(worker = %id, command, number, %by, proof, "a command was given");
    (StatusCode::ACCEPTED, Json(json!({"id": number}))).into_response()
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let (summary, totals) = pages
        .cluster
        .read(|cluster, now| (cluster.summary(now), cluster.totals()));
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let (valid, invalid) = (totals.valid as f64, totals.invalid as f64);
    metric(
        "coopmine_workers_total",
        "gauge",
        "Workers known.",
        &[("", summary.workers_total as f64)],
    );
    metric(
        "coopmine_workers_online",
        "gauge",
        "Workers heard of.",
        &[("", summary.workers_online as f64)],
    );
    metric(
        "coopmine_hashrate_total",
        "gauge",
        "Hashes a second, as workers say.",
        &[("", summary.hashrate_hs)],
    );
    let shares = [
        ("{status=\"valid\"}", valid),
        ("{status=\"invalid\"}", invalid),
    ];
    metric(
        "coopmine_shares_total",
        "counter",
        "Shares of workers by whether they were right.",
        &shares,
    );
    let blocks = [("", totals.blocks as f64)];
    let help = "Accepted shares that were blocks, where the pool tells the network's difficulty.";
    metric("coopmine_blocks_found", "counter", help, &blocks);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn socket(State(pages): State<Pages>, upgrade: WebSocketUpgrade, request: Parts) -> Response {
    let Ok(place) = pages.sockets.clone().try_acquire_owned() else {
        return QueryError::new(
            ErrorCode::ConnectionLimit,
            "too many WebSockets are open",
            "try again later, or ask /api/stats",
        )
        .into_response();
    };
    upgrade
        .max_message_size(1_024)
        .on_upgrade(move |socket| async move {
            serve_socket(socket, &pages, &request).await;
            drop(place);
        })
}

/// Sends the numbers at once and whenever they change, until the other side goes or may not read
/// any more.
async fn serve_socket(mut socket: WebSocket, pages: &Pages, request: &Parts) {
    let mut versions = pages.cluster.versions();
    while pages.access.authorize(Permission::Read, request).is_ok() {
        versions.borrow_and_update();
        let workers = pages.cluster.read(|cluster, now| cluster.workers(now));
        let body = json!({"type": "stats", "stats": pages.stats(), "workers": workers});
        if socket.send(Message::text(body.to_string())).await.is_err() {
            return;
        }
        let changed = async {
            tokio::time::sleep(MESSAGE_EVERY).await;
            // Without a cluster there is nothing to come.
            versions.changed().await.is_ok()
        };
        tokio::select! {
            is_there = changed => if !is_there { return },
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}
