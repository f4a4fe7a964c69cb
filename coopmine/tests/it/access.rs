//! Who may read the coordinator's numbers, and who may give commands: with the token, with a
//! session that began with it, as a program of this machine, and as a page of another site.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::stand_in::{PATIENCE, Running, StandIn};

const PAUSE: &str = "/api/workers/rig-1/commands";
/// Routes that tell something about the cluster.
const READ: &[&str] = &[
    "/api/stats",
    "/api/workers",
    "/api/workers/rig-1",
    "/api/jobs",
    "/api/shares",
    "/api/hashrate",
    "/api/hashrate.svg",
    "/metrics",
    "/ws",
];

type Headers<'a> = &'a [(&'a str, &'a str)];

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// Sends a request that says of itself what these headers say.
async fn send(
    coordinator: &Running,
    method: Method,
    path: &str,
    headers: Headers<'_>,
    body: Option<Value>,
) -> Answer {
    let url = format!("http://{}{path}", coordinator.pages);
    let mut request = Client::new().request(method, url).timeout(PATIENCE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = serde_json::from_str(&answer.text().await.unwrap());
    Answer {
        status,
        headers,
        body: body.unwrap_or_default(),
    }
}

async fn read(coordinator: &Running, path: &str, headers: Headers<'_>) -> Answer {
    send(coordinator, Method::GET, path, headers, None).await
}

async fn pause(coordinator: &Running, headers: Headers<'_>) -> Answer {
    let body = json!({"command": "pause"});
    send(coordinator, Method::POST, PAUSE, headers, Some(body)).await
}

async fn sign_in(coordinator: &Running, token: &str, headers: Headers<'_>) -> Answer {
    let body = Some(json!({"token": token}));
    send(coordinator, Method::POST, "/api/v1/login", headers, body).await
}

/// What a browser keeps of an answer.
fn cookie(answer: &Answer) -> String {
    let set = answer.headers["set-cookie"].to_str().unwrap();
    for rule in ["HttpOnly", "SameSite=", "Path=/"] {
        assert!(set.contains(rule), "{set}");
    }
    set.split(';').next().unwrap().to_owned()
}

/// A coordinator that knows a worker, with a pool that answers nobody.
async fn start(pool: &StandIn, token: &str) -> Running {
    let coordinator = Running::start(&pool.address(), |config| {
        token.clone_into(&mut config.dashboard.token);
    })
    .await;
    coordinator.register("rig-1", 0).await;
    coordinator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_only_who_shows_it_or_signed_in_with_it_reads_and_commands() {
    let pool = StandIn::open().await;
    let coordinator = start(&pool, "secret").await;
    let wrong = [("authorization", "Bearer guess")];
    for headers in [&[][..], &wrong] {
        for path in READ {
            let answer = read(&coordinator, path, headers).await;
            assert_eq!(
                (answer.status, answer.code()),
                (401, "unauthorized"),
                "{path}"
            );
        }
        assert_eq!(pause(&coordinator, headers).await.status, 401);
    }
    let right = [("authorization", "Bearer secret")];
    for path in READ.iter().filter(|path| **path != "/ws") {
        assert_eq!(read(&coordinator, path, &right).await.status, 200, "{path}");
    }
    assert_eq!(pause(&coordinator, &right).await.status, 202);

    let refused = sign_in(&coordinator, "guess", &[]).await;
    assert_eq!((refused.status, refused.code()), (401, "unauthorized"));
    assert!(!refused.headers.contains_key("set-cookie"));
    let session = cookie(&sign_in(&coordinator, "secret", &[]).await);
    let own = [
        ("cookie", session.as_str()),
        ("sec-fetch-site", "same-origin"),
    ];
    for path in READ.iter().filter(|path| **path != "/ws") {
        assert_eq!(read(&coordinator, path, &own).await.status, 200, "{path}");
    }
    assert_eq!(pause(&coordinator, &own).await.status, 202);
    let visitor = read(&coordinator, "/api/v1/console", &own).await.body;
    assert_eq!(
        (&visitor["may_operate"], &visitor["principal"]["proof"]),
        (&json!(true), &json!("session"))
    );
    // It ends with the logout, also for whoever has kept the cookie.
    let path = "/api/v1/logout";
    assert_eq!(
        send(&coordinator, Method::POST, path, &own, None)
            .await
            .status,
        200
    );
    assert_eq!(read(&coordinator, "/api/stats", &own).await.status, 401);
    let visitor = read(&coordinator, "/api/v1/console", &own).await.body;
    assert_eq!(
        (&visitor["pages"], &visitor["principal"]),
        (&json!(["/sign-in"]), &Value::Null)
    );
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_gets_nothing_whatever_its_visitor_has() {
    let pool = StandIn::open().await;
    let coordinator = start(&pool, "secret").await;
    let session = cookie(&sign_in(&coordinator, "secret", &[]).await);
    let foreign: [Headers; 4] = [
        &[("sec-fetch-site", "cross-site")],
        // Another port of the same host is the same site, and another origin.
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://elsewhere.example")],
        &[("origin", "null")],
    ];
    for marks in foreign {
        for proof in [
            ("cookie", session.as_str()),
            ("authorization", "Bearer secret"),
        ] {
            let headers: Vec<_> = marks.iter().copied().chain([proof]).collect();
            for path in READ {
                let answer = read(&coordinator, path, &headers).await;
                assert_eq!(answer.code(), "foreign_origin", "{path} {headers:?}");
            }
            let answer = pause(&coordinator, &headers).await;
            assert_eq!((answer.status, answer.code()), (403, "foreign_origin"));
        }
        let answer = sign_in(&coordinator, "secret", marks).await;
        assert_eq!((answer.status, answer.code()), (403, "foreign_origin"));
    }
    // The pages themselves hold nothing, and may be linked from anywhere.
    for path in ["/cluster", "/workers", "/shares", "/jobs", "/sign-in"] {
        let answer = read(&coordinator, path, foreign[0]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
    }
    let worker = read(
        &coordinator,
        "/api/workers/rig-1",
        &[("authorization", "Bearer secret")],
    )
    .await;
    assert_eq!(
        worker.body["command"],
        Value::Null,
        "a command came through"
    );
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_programs_of_this_machine_read_and_nobody_commands() {
    let pool = StandIn::open().await;
    let coordinator = start(&pool, "").await;
    let own_page = [("sec-fetch-site", "same-origin")];
    for headers in [&[][..], &own_page] {
        for path in READ.iter().filter(|path| **path != "/ws") {
            assert_eq!(
                read(&coordinator, path, headers).await.status,
                200,
                "{path}"
            );
        }
        for headers in [headers, &[("authorization", "Bearer ")]] {
            let answer = pause(&coordinator, headers).await;
            assert!([401, 403].contains(&answer.status), "{}", answer.status);
        }
        let answer = sign_in(&coordinator, "", headers).await;
        assert_eq!((answer.status, answer.code()), (403, "no_operator_token"));
    }
    let foreign: [(Headers, &str); 4] = [
        (&[("host", "rebound.example:8080")], "foreign_origin"),
        (&[("host", "127.0.0.1.example")], "foreign_origin"),
        (&[("x-forwarded-for", "192.0.2.1")], "forwarded"),
        (&[("sec-fetch-site", "cross-site")], "foreign_origin"),
    ];
    for (headers, code) in foreign {
        for path in READ {
            let answer = read(&coordinator, path, headers).await;
            assert_eq!(
                (answer.status, answer.code()),
                (403, code),
                "{path} {headers:?}"
            );
        }
        assert_eq!(
            pause(&coordinator, headers).await.status,
            403,
            "{headers:?}"
        );
    }
    let visitor = read(&coordinator, "/api/v1/console", &own_page).await.body;
    assert_eq!(visitor["may_operate"], json!(false), "{visitor}");
    assert_eq!(
        visitor["pages"],
        json!(["/cluster", "/workers", "/shares", "/jobs", "/sign-in"])
    );
    assert_eq!(
        read(&coordinator, "/nothing", &[]).await.code(),
        "not_found"
    );
    coordinator.stop().await;
}
