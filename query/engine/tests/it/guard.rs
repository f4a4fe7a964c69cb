//! Who may ask, and what probes see.

use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Method, Request, StatusCode};
use axum::routing::post as on_post;
use headframe_query_front::auth::{Guard, TokenError};
use headframe_query_front::{BindError, Probe, QueryConfig, Server, Services};
use serde_json::json;

use crate::server::{config, engines, get, send, shares};

struct Fixed(&'static str, Result<(), String>);

#[async_trait::async_trait]
impl Probe for Fixed {
    fn name(&self) -> &str {
        self.0
    }
    async fn check(&self) -> Result<(), String> {
        self.1.clone()
    }
    async fn note(&self) -> Option<String> {
        (self.0 == "payments").then(|| "the wallet is short".to_owned())
    }
}

async fn bind(config: QueryConfig, wiring: Services) -> Router {
    Server::bind(config, wiring).await.unwrap().router()
}

fn wiring() -> Services {
    let door = on_post(async |Path(stream): Path<String>| format!("taken: {stream}"));
    Services {
        engines: engines(&config(), vec![shares()]),
        routes: Router::new().route("/api/v1/ingest/{stream}", door),
        ..Services::default()
    }
}

fn token_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn strangers_need_the_token() {
    let file = token_file("a-token-of-20-letters\nsecond line\n");
    let config = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let router = bind(config, wiring()).await;
    let request = |path: &str, token: Option<&str>| {
        let mut request = Request::get(path).header("host", "mine.example.org");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        request.body(Body::empty()).unwrap()
    };
    for token in [
        None,
        Some("Bearer wrong"),
        Some("Bearer a-token-of-20-letterz"),
        Some("Basic a-token-of-20-letters"),
        Some("a-token-of-20-letters"),
        Some("Bearer "),
    ] {
        for path in [
            "/api/v1/sql?q=SELECT+1",
            "/api/v1/pool",
            "/api/v1/miners/4A",
            "/api/v1/blocks",
            "/metrics",
            "/api/v1/ingest/shares",
            "/nowhere",
        ] {
            let answer = send(&router, request(path, token)).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::UNAUTHORIZED, "unauthorized"),
                "{path} with {token:?}"
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    assert_eq!(
        send(
            &router,
            request(
                "/api/v1/sql?q=SELECT+1",
                Some("Bearer a-token-of-20-letters")
            )
        )
        .await
        .status,
        StatusCode::OK
    );
    assert_eq!(
        send(&router, request("/live", None)).await.status,
        StatusCode::OK
    );
}

const READER: &str = "a-token-of-20-letters";
const OPERATOR: &str = "another-token-of-24-chars";

/// Orders, and what only an operator may write.
const ORDERS: &[(&str, &str)] = &[
    ("POST", "/api/v1/payments/instructions"),
    ("POST", "/api/v1/unproven-blocks"),
    ("POST", "/api/v1/bans"),
    ("DELETE", "/api/v1/bans"),
    ("POST", "/api/v1/ingest/shares"),
    ("POST", "/api/v1/ingest/blocks"),
    // The router decodes these to the same.
    ("POST", "/api/v1/ingest/%73hares"),
    ("POST", "/api/v1/ingest/bl%6fcks"),
    ("PUT", "/nowhere"),
];

/// The status and `error.code` of a stranger's request.
async fn asked(router: &Router, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "mine.example.org");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = send(router, request.body(Body::empty()).unwrap()).await;
    let code = serde_json::from_str::<serde_json::Value>(&answer.text()).ok();
    let code = code
        .and_then(|body| body["error"]["code"].as_str().map(str::to_owned))
        .unwrap_or_default();
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn whoever_may_read_may_not_give_orders() {
    let (reader, operator) = (token_file(READER), token_file(OPERATOR));
    let plain = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(reader.path().to_owned()),
        ..config()
    };
    let router = bind(plain.clone(), wiring()).await;
    for (method, path) in ORDERS {
        for token in [None, Some(READER), Some(OPERATOR)] {
            assert_eq!(
                asked(&router, method, path, token).await,
                (403, "no_operator_token".to_owned()),
                "{method} {path} {token:?}"
            );
        }
    }
    let request = Request::post("/api/v1/bans")
        .header("authorization", format!("Bearer {READER}"))
        .body(Body::empty())
        .unwrap();
    let told = send(&router, request).await.text();
    assert!(
        told.contains("query.operator_token_file") && told.contains("HEADFRAME_OPERATOR_TOKEN"),
        "{told}"
    );

    let both = QueryConfig {
        operator_token_file: Some(operator.path().to_owned()),
        ..plain.clone()
    };
    let router = bind(both.clone(), wiring()).await;
    for (method, path) in ORDERS {
        for token in [None, Some(READER), Some("another-token-of-24-charz")] {
            assert_eq!(
                asked(&router, method, path, token).await,
                (401, "unauthorized".to_owned()),
                "{method} {path} {token:?}"
            );
        }
        let passed = asked(&router, method, path, Some(OPERATOR)).await;
        assert!(
            !matches!(passed.0, 401 | 403),
            "{method} {path}: {passed:?}"
        );
    }
    // However it is written, a name that means shares reaches the door by the operator's token
    // alone.
    let encoded = Request::post("/api/v1/ingest/%73hares")
        .header("authorization", format!("Bearer {OPERATOR}"));
    assert_eq!(
        send(&router, encoded.body(Body::empty()).unwrap())
            .await
            .text(),
        "taken: shares"
    );
    assert_eq!(
        asked(&router, "POST", "/api/v1/ingest/sensors", Some(READER))
            .await
            .0,
        200
    );
    // Both read, and who reads may end a question of his.
    for token in [READER, OPERATOR] {
        assert_eq!(
            asked(&router, "GET", "/api/v1/sql?q=SELECT+1", Some(token))
                .await
                .0,
            200
        );
        assert_eq!(
            asked(&router, "DELETE", "/api/v1/sql/nobody", Some(token)).await,
            (404, "not_found".to_owned())
        );
    }

    // On this machine alone, orders are free until there is a token for them.
    let here = QueryConfig {
        operator_token_file: both.operator_token_file.clone(),
        ..config()
    };
    let order = |token: Option<&str>| {
        let request = Request::post("/api/v1/ingest/shares").header("host", "127.0.0.1");
        let request = token.iter().fold(request, |request, token| {
            request.header("authorization", format!("Bearer {token}"))
        });
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(
        send(&bind(config(), wiring()).await, order(None))
            .await
            .status,
        StatusCode::OK
    );
    let router = bind(here, wiring()).await;
    assert_eq!(
        send(&router, order(None)).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        send(&router, order(Some(OPERATOR))).await.status,
        StatusCode::OK
    );
    assert_eq!(
        send(&router, get("/api/v1/sql?q=SELECT%201")).await.status,
        StatusCode::OK
    );

    // From the environment it goes before the file's, and it is never the reader's.
    assert!(
        Guard::from_config_and_token(&both, Some("short".to_owned()))
            .err()
            .unwrap()
            .to_string()
            .contains("HEADFRAME_OPERATOR_TOKEN")
    );
    assert!(matches!(
        Guard::from_config_and_token(&both, Some(format!("{READER}\n"))),
        Err(TokenError::Same)
    ));
    let guard = Guard::from_config_and_token(&both, Some("a-third-token-of-26-letters".to_owned()))
        .unwrap();
    let check = |token: &str| {
        let headers = [(
            "authorization".parse().unwrap(),
            format!("Bearer {token}").parse().unwrap(),
        )]
        .into_iter()
        .collect();
        guard.authorize(&Method::POST, &"/api/v1/bans".parse().unwrap(), &headers)
    };
    assert!(check("a-third-token-of-26-letters").is_ok() && check(OPERATOR).is_err());
}

#[tokio::test]
async fn the_pools_pages_can_be_for_everybody_and_nothing_else_is() {
    let reader = token_file(READER);
    let closed = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(reader.path().to_owned()),
        ..config()
    };
    let open = bind(
        QueryConfig {
            public_pages: true,
            ..closed.clone()
        },
        wiring(),
    )
    .await;
    // Behind a proxy of this machine, too.
    let behind = bind(
        QueryConfig {
            public_pages: true,
            ..config()
        },
        wiring(),
    )
    .await;
    let closed = bind(closed, wiring()).await;
    let pages = [
        ("GET", "/api/v1/pool"),
        ("GET", "/api/v1/blocks"),
        ("GET", "/api/v1/blocks/ab/payouts"),
        ("GET", "/api/v1/payouts/key"),
        ("GET", "/api/v1/miners/4A"),
        ("GET", "/api/v1/miners/4A/workers"),
        ("GET", "/api/v1/miners/4A/payouts"),
        ("GET", "/api/v1/miners/4A/payments"),
        ("POST", "/api/v1/miners/4A/threshold"),
    ];
    for (method, path) in pages {
        assert_eq!(asked(&closed, method, path, None).await.0, 401, "{path}");
        for router in [&open, &behind] {
            let passed = asked(router, method, path, None).await;
            assert!(
                !matches!(passed.0, 401 | 403),
                "{method} {path}: {passed:?}"
            );
        }
    }
    for path in [
        "/api/v1/sql?q=SELECT+1",
        "/metrics",
        "/api/v1/ledger",
        "/api/v1/payments",
        "/api/v1/payments/state",
        "/api/v1/bans",
    ] {
        assert_eq!(asked(&open, "GET", path, None).await.0, 401, "{path}");
        assert_eq!(
            asked(&behind, "GET", path, None).await,
            (403, "foreign_origin".to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        asked(&open, "POST", "/api/v1/payments/instructions", None)
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn a_server_without_a_good_token_does_not_start() {
    let open = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..config()
    };
    let error = Server::bind(open.clone(), wiring()).await.err().unwrap();
    assert!(
        matches!(error, BindError::Config(_)) && error.to_string().contains("query.token_file"),
        "{error}"
    );
    for text in ["", "short\n", "has blanks in its sixteen\n"] {
        let file = token_file(text);
        let weak = QueryConfig {
            token_file: Some(file.path().to_owned()),
            ..open.clone()
        };
        assert!(
            matches!(Server::bind(weak, wiring()).await, Err(BindError::Token(_))),
            "{text:?}"
        );
    }
    let gone = QueryConfig {
        token_file: Some("/nowhere/token".into()),
        ..open
    };
    assert!(matches!(
        Server::bind(gone, wiring()).await,
        Err(BindError::Token(_))
    ));
    let file = token_file("short\n");
    let weak = QueryConfig {
        operator_token_file: Some(file.path().to_owned()),
        ..config()
    };
    let error = Server::bind(weak, wiring()).await.err().unwrap();
    assert!(
        error.to_string().contains("query.operator_token_file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_said_at_the_start() {
    let first = Server::bind(config(), wiring()).await.unwrap();
    let again = QueryConfig {
        listen: first.address(),
        ..config()
    };
    let error = Server::bind(again, wiring())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(&first.address().to_string()) && error.contains("query.listen"),
        "{error}"
    );
}

#[tokio::test]
async fn web_pages_of_others_cannot_ask_through_a_browser() {
    let router = bind(config(), wiring()).await;
    let from = |host: &str, origin: Option<&str>| {
        let mut request = Request::post("/api/v1/ingest/shares").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.body(Body::empty()).unwrap()
    };
    for (host, origin, status) in [
        ("127.0.0.1:8080", None, 200),
        ("localhost", Some("http://localhost:3000"), 200),
        ("rebound.example.org:8080", None, 403),
        ("127.0.0.1:8080", Some("https://example.org"), 403),
        ("127.0.0.1:8080", Some("null"), 403),
    ] {
        assert_eq!(
            send(&router, from(host, origin)).await.status.as_u16(),
            status,
            "{host} {origin:?}"
        );
    }
}

#[tokio::test]
async fn probes_say_what_is_missing() {
    let probe = |name, answer: Result<(), &str>| -> Arc<dyn Probe> {
        Arc::new(Fixed(name, answer.map_err(str::to_owned)))
    };
    let late = Services {
        health: vec![probe("nats", Ok(()))],
        ready: vec![probe(
            "pipeline shares",
            Err("it has not read its offset yet"),
        )],
        ..wiring()
    };
    let router = bind(config(), late).await;
    let health = send(&router, get("/health")).await;
    assert_eq!(
        (health.status, health.json()),
        (
            StatusCode::OK,
            json!({"status": "ok", "checks": {"nats": "ok"}})
        )
    );
    let ready = send(&router, get("/ready")).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        ready.json()["missing"],
        json!(["pipeline shares: it has not read its offset yet"])
    );

    // What is only worth knowing is said, and makes nothing unready.
    let short = bind(
        config(),
        Services {
            ready: vec![probe("payments", Ok(()))],
            ..wiring()
        },
    )
    .await;
    let ready = send(&short, get("/ready")).await;
    assert_eq!(
        (ready.status, &ready.json()["notes"]),
        (StatusCode::OK, &json!(["payments: the wallet is short"]))
    );

    let sick = Services {
        health: vec![probe("storage", Err("disk full"))],
        ..wiring()
    };
    let router = bind(config(), sick).await;
    let health = send(&router, get("/health")).await;
    assert_eq!(
        (health.status, health.json()["checks"]["storage"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("disk full"))
    );
    assert_eq!(send(&router, get("/live")).await.text(), "ok\n");
}

#[tokio::test]
async fn metrics_are_shown() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        metrics::counter!("headframe_test_total").increment(3)
    });
    let router = bind(
        config(),
        Services {
            metrics: Some(handle),
            ..wiring()
        },
    )
    .await;
    let page = send(&router, get("/metrics")).await;
    assert!(
        page.text().contains("headframe_test_total 3"),
        "{}",
        page.text()
    );
    let none = bind(config(), wiring()).await;
    assert_eq!(
        send(&none, get("/metrics")).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn without_streams_only_health_is_told() {
    let router = bind(
        config(),
        Services {
            health: vec![],
            ..Services::default()
        },
    )
    .await;
    for path in ["/live", "/health", "/ready"] {
        assert_eq!(
            send(&router, get(path)).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    let asked = send(&router, get("/api/v1/sql?q=SELECT%201")).await;
    assert_eq!(asked.status, StatusCode::NOT_FOUND);
    assert!(asked.text().contains("role query"), "{}", asked.text());
    let whole = bind(config(), wiring()).await;
    assert_eq!(
        send(&whole, get("/api/v1/sql?q=SELECT%201")).await.status,
        StatusCode::OK
    );
}
