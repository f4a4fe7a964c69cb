//! Who may ask, with an engine behind the routes.

use std::io::Write;

use crate::server::{config, engines, get, send, shares};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Method, Request, StatusCode};
use axum::routing::post as on_post;
use headframe_query_front::access::token::TokenError;
use headframe_query_front::access::{Guard, Permission};
use headframe_query_front::{BindError, QueryConfig, RouteHandler, Server, Services};

pub async fn bind(config: QueryConfig, services: Services) -> Router {
    Server::bind(config, services).await.unwrap().router()
}

pub fn services() -> Services {
    let rows = RouteHandler {
        method: Method::POST,
        path: "/api/v1/ingest/{stream}",
        answers: on_post(async |Path(stream): Path<String>| format!("rows of {stream}")),
    };
    Services {
        engines: engines(&config(), vec![shares()]),
        handlers: vec![rows],
        ..Services::default()
    }
}

fn token_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn requests_from_elsewhere_need_the_token() {
    let file = token_file("a-token-of-20-letters\nsecond line\n");
    let config = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let router = bind(config, services()).await;
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

/// The status and `error.code` of a request from another machine.
async fn ask(router: &Router, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
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
async fn a_reader_may_not_give_orders() {
    let (reader, operator) = (token_file(READER), token_file(OPERATOR));
    let plain = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(reader.path().to_owned()),
        ..config()
    };
    let router = bind(plain.clone(), services()).await;
    for (method, path) in ORDERS {
        for token in [None, Some(READER), Some(OPERATOR)] {
            assert_eq!(
                ask(&router, method, path, token).await,
                (403, "no_operator_token".to_owned()),
                "{method} {path} {token:?}"
            );
        }
    }
    let request = Request::post("/api/v1/bans")
        .header("authorization", format!("Bearer {READER}"))
        .body(Body::empty())
        .unwrap();
    let answer = send(&router, request).await.text();
    assert!(
        answer.contains("query.operator_token_file") && answer.contains("HEADFRAME_OPERATOR_TOKEN"),
        "{answer}"
    );

    let both = QueryConfig {
        operator_token_file: Some(operator.path().to_owned()),
        ..plain.clone()
    };
    let router = bind(both.clone(), services()).await;
    for (method, path) in ORDERS {
        for token in [None, Some(READER), Some("another-token-of-24-charz")] {
            assert_eq!(
                ask(&router, method, path, token).await,
                (401, "unauthorized".to_owned()),
                "{method} {path} {token:?}"
            );
        }
        let passed = ask(&router, method, path, Some(OPERATOR)).await;
        assert!(
            !matches!(passed.0, 401 | 403),
            "{method} {path}: {passed:?}"
        );
    }
    // However it is written, a name that means shares needs the operator's token.
    let encoded = Request::post("/api/v1/ingest/%73hares")
        .header("authorization", format!("Bearer {OPERATOR}"));
    assert_eq!(
        send(&router, encoded.body(Body::empty()).unwrap())
            .await
            .text(),
        "rows of shares"
    );
    assert_eq!(
        ask(&router, "POST", "/api/v1/ingest/sensors", Some(READER))
            .await
            .0,
        200
    );
    // Both read, and who reads may end a question of his.
    for token in [READER, OPERATOR] {
        assert_eq!(
            ask(&router, "GET", "/api/v1/sql?q=SELECT+1", Some(token))
                .await
                .0,
            200
        );
        assert_eq!(
            ask(&router, "DELETE", "/api/v1/sql/nobody", Some(token)).await,
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
        send(&bind(config(), services()).await, order(None))
            .await
            .status,
        StatusCode::OK
    );
    let router = bind(here, services()).await;
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
        let request =
            Request::post("/api/v1/bans").header("authorization", format!("Bearer {token}"));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        guard.authorize(Permission::Operate, None, &parts)
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
        services(),
    )
    .await;
    // Behind a proxy of this machine, too.
    let behind = bind(
        QueryConfig {
            public_pages: true,
            ..config()
        },
        services(),
    )
    .await;
    let closed = bind(closed, services()).await;
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
        assert_eq!(ask(&closed, method, path, None).await.0, 401, "{path}");
        for router in [&open, &behind] {
            let passed = ask(router, method, path, None).await;
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
        assert_eq!(ask(&open, "GET", path, None).await.0, 401, "{path}");
        assert_eq!(
            ask(&behind, "GET", path, None).await,
            (403, "foreign_origin".to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        ask(&open, "POST", "/api/v1/payments/instructions", None)
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
    let error = Server::bind(open.clone(), services()).await.err().unwrap();
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
            matches!(
                Server::bind(weak, services()).await,
                Err(BindError::Token(_))
            ),
            "{text:?}"
        );
    }
    let gone = QueryConfig {
        token_file: Some("/nowhere/token".into()),
        ..open
    };
    assert!(matches!(
        Server::bind(gone, services()).await,
        Err(BindError::Token(_))
    ));
    let file = token_file("short\n");
    let weak = QueryConfig {
        operator_token_file: Some(file.path().to_owned()),
        ..config()
    };
    let error = Server::bind(weak, services()).await.err().unwrap();
    assert!(
        error.to_string().contains("query.operator_token_file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_said_at_the_start() {
    let first = Server::bind(config(), services()).await.unwrap();
    let again = QueryConfig {
        listen: first.address(),
        ..config()
    };
    let error = Server::bind(again, services())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(&first.address().to_string()) && error.contains("query.listen"),
        "{error}"
    );
}
