//! The coordinator's pages for programs: REST, metrics and a WebSocket.
//!
//! Without a token they are for this machine alone, and only for reading.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::shared_cluster::SharedCluster;
use crate::cluster::CommandKind;
use crate::config::CoordinatorConfig;

/// Between messages of a WebSocket at least.
const MESSAGE_EVERY: Duration = Duration::from_secs(1);
/// WebSockets at a time.
const SOCKETS: usize = 64;

#[derive(Clone)]
struct Pages {
    cluster: Arc<SharedCluster>,
    token: Arc<str>,
    id: Arc<str>,
    name: Arc<str>,
    sockets: Arc<Semaphore>,
}

/// All routes.
pub(super) fn router(cluster: Arc<SharedCluster>, config: &CoordinatorConfig) -> Router {
    let pages = Pages {
        cluster,
        token: config.dashboard.token.as_str().into(),
        id: config.cluster.id.as_str().into(),
        name: config.cluster.name.as_str().into(),
        sockets: Arc::new(Semaphore::new(SOCKETS)),
    };
    let guarded = Router::new()
        .route("/api/stats", get(stats))
        .route("/api/workers", get(workers))
        .route("/api/workers/{id}", get(worker))
        .route("/api/workers/{id}/commands", post(command))
        .route("/api/jobs", get(jobs))
        .route("/api/shares", get(shares))
        .route("/metrics", get(metrics))
        .route("/ws", get(socket))
        .route_layer(from_fn_with_state(pages.clone(), guard));
    guarded.route("/health", get(health)).with_state(pages)
}

/// Lets readers in who show the token, or anybody of this machine while there is none.
async fn guard(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    if pages.token.is_empty() {
        return match is_local_program(request.headers()) {
            true => next.run(request).await,
            false => error(
                StatusCode::FORBIDDEN,
                "without a token this is for programs of this machine; set dashboard.token",
            ),
        };
    }
    if shows_token(request.headers(), &pages.token) {
        return next.run(request).await;
    }
    let said = "show the coordinator's token: Authorization: Bearer TOKEN";
    error(StatusCode::UNAUTHORIZED, said)
}

/// Whether a request is a program's of this machine, and not a web page's of elsewhere that a
/// browser sends, nor one that was passed on.
fn is_local_program(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text("host").unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let is_loopback = matches!(name, "127.0.0.1" | "localhost" | "[::1]");
    let is_own_page = text("origin").is_none_or(|origin| origin == format!("http://{host}"));
    let site = text("sec-fetch-site");
    let is_same_site = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    let is_direct = ["forwarded", "x-forwarded-for", "x-forwarded-host", "via"]
        .iter()
        .all(|name| !headers.contains_key(*name));
    is_loopback && is_own_page && is_same_site && is_direct
}

fn shows_token(headers: &HeaderMap, token: &str) -> bool {
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let shown = shown
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    verify_slices_are_equal(shown.as_bytes(), token.as_bytes()).is_ok()
}

fn error(status: StatusCode, said: &str) -> Response {
    (status, Json(json!({"error": said}))).into_response()
}

async fn health(State(pages): State<Pages>) -> Response {
    let (summary, is_connected) = pages
        .cluster
        .read(|cluster, _| (cluster.summary(), cluster.is_connected()));
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
            let summary = cluster.summary();
            let job = cluster.current_job(now);
            json!({
                "workers_total": summary.workers_total,
                "workers_online": summary.workers_online,
                "hashrate_hs": summary.hashrate_hs,
                "shares": cluster.totals(),
                "pool_connected": cluster.is_connected(),
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
        None => error(StatusCode::NOT_FOUND, "there is no such worker"),
    }
}

async fn jobs(State(pages): State<Pages>) -> Json<Value> {
    Json(json!({"jobs": pages.cluster.read(|cluster, now| cluster.jobs(now))}))
}

async fn shares(State(pages): State<Pages>) -> Json<Value> {
    Json(json!({"shares": pages.cluster.read(|cluster, now| cluster.shares(now))}))
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
    Path(id): Path<String>,
    body: Result<Json<CommandBody>, JsonRejection>,
) -> Response {
    if pages.token.is_empty() {
        let said = "commands need a token: set dashboard.token";
        return error(StatusCode::FORBIDDEN, said);
    }
    let kind = body.ok().and_then(|Json(body)| body.kind());
    let Some(kind) = kind else {
        let said = "send {\"command\": \"pause\" | \"resume\" | \"shutdown\"} or {\"command\": \
                    \"throttle\", \"threads\" | \"watts\": N}";
        return error(StatusCode::BAD_REQUEST, said);
    };
    let given = pages
        .cluster
        .change(|cluster, now| match cluster.command(&id, kind, now) {
            Some((number, action)) => (Some(number), vec![action]),
            None => (None, Vec::new()),
        });
    match given {
        Some(number) => (StatusCode::ACCEPTED, Json(json!({"id": number}))).into_response(),
        None => error(StatusCode::NOT_FOUND, "there is no such worker"),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let (summary, totals) = pages
        .cluster
        .read(|cluster, _| (cluster.summary(), cluster.totals()));
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

async fn socket(State(pages): State<Pages>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(place) = pages.sockets.clone().try_acquire_owned() else {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many listeners; try again later",
        );
    };
    upgrade
        .max_message_size(1_024)
        .on_upgrade(move |socket| async move {
            serve_socket(socket, &pages).await;
            drop(place);
        })
}

/// Sends the numbers at once and whenever they change, until the other side goes.
async fn serve_socket(mut socket: WebSocket, pages: &Pages) {
    let mut versions = pages.cluster.versions();
    loop {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn may_read(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse(), value.parse()));
        let headers = headers.filter_map(|(name, value)| Some((name.ok()?, value.ok()?)));
        is_local_program(&headers.collect::<HeaderMap>())
    }

    #[test]
    fn without_a_token_only_programs_of_this_machine_read() {
        let host = ("host", "127.0.0.1:8080");
        assert!(may_read(&[host]));
        assert!(may_read(&[("host", "localhost")]));
        assert!(may_read(&[
            host,
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(!may_read(&[("host", "rebound.example:8080")]));
        assert!(!may_read(&[("host", "127.0.0.1.example")]));
        assert!(!may_read(&[host, ("origin", "https://elsewhere.example")]));
        assert!(!may_read(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!may_read(&[host, ("x-forwarded-for", "192.0.2.1")]));
        assert!(!may_read(&[]));
    }
}
