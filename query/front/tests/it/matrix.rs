//! Every route by every role, requests of a running router, as docs/accounts.md says.

use axum::Router;
use axum::http::Method;
use headframe_query_front::access::{Permission, Role};
use headframe_query_front::{QueryConfig, Services, route};
use headframe_schemas::stream::{self, WritePermission};

use crate::account_store::{MemoryStore, account, accounts, actor, token};
use crate::server::{OPERATOR, READER, ask, config, router, services, token_file};

struct Servers {
    closed: Router,
    public: Router,
    tokens: Vec<(&'static str, String)>,
    given: String,
}

async fn servers() -> (Servers, [tempfile::NamedTempFile; 2]) {
    let files = [token_file(READER), token_file(OPERATOR)];
    let closed = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(files[0].path().to_owned()),
        operator_token_file: Some(files[1].path().to_owned()),
        ..config()
    };
    let public = QueryConfig {
        public_pages: true,
        ..closed.clone()
    };
    let accounts = accounts(&MemoryStore::new()).await;
    let mut tokens = Vec::new();
    for role in Role::NAMES {
        tokens.push((*role, token(&accounts, role).await));
    }
    let mut producer = account("gateway", "viewer");
    producer.streams = vec!["sensors".to_owned()];
    let given = accounts.add_token(actor(), producer, None).await.unwrap();
    let services = || Services {
        accounts: Some(accounts.clone()),
        ..services()
    };
    let servers = Servers {
        closed: router(closed, services()).await,
        public: router(public, services()).await,
        tokens,
        given,
    };
    (servers, files)
}

/// Whether the guard lets a request with this token through.
async fn passes(router: &Router, method: &Method, path: &str, token: Option<&str>) -> bool {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("host", "mine.example.org")];
    headers.extend(
        bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str())),
    );
    let answer = ask(router, method, path, &headers).await;
    let (status, code) = answer.status_and_code();
    assert!(status != 429, "{method} {path}: {code}");
    // Some handlers themselves answer 401, to who has passed.
    let is_handlers = answer.text.contains("neither a token nor a session");
    is_handlers || !matches!(status, 401 | 403)
}

fn path_of(path: &str, address: &str) -> String {
    path.replace("{stream}", "sensors")
        .replace("{address}", address)
        .replace("{hash}", &"ab".repeat(32))
        .replace("{id}", "q1")
        .replace("{name}", "nobody")
}

/// The cells of the table in the documents: of each route, in its order, one a caller. The engine's
/// tests look at its rows about tables.
fn documented() -> Vec<(String, Vec<bool>)> {
    let page = std::fs::read_to_string("../../docs/accounts.md").unwrap();
    let (_, rest) = page.split_once("<!-- generated: access -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- end -->").unwrap();
    let rows = table.lines().skip(2);
    let routes = rows.filter(|row| row.contains(" /"));
    routes
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let yes = cells[1..].iter().map(|cell| match *cell {
                "yes" => true,
                "no" => false,
                cell => panic!("{row}: {cell}"),
            });
            (cells[0].trim_matches('`').to_owned(), yes.collect())
        })
        .collect()
}

#[tokio::test]
async fn every_role_gets_the_routes_that_the_documents_say_and_no_other() {
    let (servers, _files) = servers().await;
    let documented = documented();
    assert_eq!(documented.len(), route::ALL.len());
    let of = |role: &str| {
        let found = servers.tokens.iter().find(|(name, _)| *name == role);
        found.map(|(_, token)| token.as_str())
    };
    let callers = [
        (None, "4Other"),
        (of("viewer"), "4Other"),
        (of("miner"), "4Own"),
        (of("miner"), "4Other"),
        (of("operator"), "4Other"),
        (of("auditor"), "4Other"),
        (of("admin"), "4Other"),
    ];
    let mut requests = 0;
    for (route, (name, cells)) in route::ALL.iter().zip(&documented) {
        assert_eq!(*name, format!("{} {}", route.method, route.path));
        assert_eq!(cells.len(), callers.len(), "{name}");
        for ((token, address), documented) in callers.iter().zip(cells) {
            let path = path_of(route.path, address);
            let found = passes(&servers.closed, &route.method, &path, *token).await;
            assert_eq!(found, *documented, "{name} by {token:?} at {path}");
            // Public pages are for everybody, and change nothing else.
            let is_page = matches!(
                route.permission,
                Permission::PublicPage | Permission::MinerPage
            );
            let found = passes(&servers.public, &route.method, &path, *token).await;
            assert_eq!(found, *documented || is_page, "{name} by {token:?}, public");
            requests += 2;
        }
    }
    assert!(requests >= 7 * 2 * 25, "{requests}");
}

/// Only a subscription becomes a WebSocket. Elsewhere the header is one that nobody reads, and lets
/// nobody in whose token would come later.
#[tokio::test]
async fn an_upgrade_header_changes_nothing_on_an_ordinary_route() {
    let (servers, _files) = servers().await;
    let miner = servers.tokens.iter().find(|(role, _)| *role == "miner");
    let bearer = format!("Bearer {}", miner.unwrap().1);
    let mut sockets = 0;
    for route in route::ALL {
        let path = path_of(route.path, "4Own");
        if route.path == "/api/v1/streams/{stream}/rows" {
            sockets += 1;
            continue;
        }
        for token in [None, Some(&bearer)] {
            let mut headers = vec![("host", "mine.example.org")];
            headers.extend(token.map(|bearer| ("authorization", bearer.as_str())));
            let plain = ask(&servers.closed, &route.method, &path, &headers).await;
            headers.extend([
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ]);
            let upgraded = ask(&servers.closed, &route.method, &path, &headers).await;
            assert_eq!(upgraded.status, plain.status, "{} {path}", route.method);
            assert_ne!(plain.status.as_u16(), 500, "{} {path}", route.method);
        }
    }
    assert_eq!(sockets, 1);
}

#[tokio::test]
async fn rows_are_sent_by_operators_and_by_whom_the_stream_was_given() {
    let (servers, _files) = servers().await;
    let may = async |token: &str, stream: &str| {
        let path = format!("/api/v1/ingest/{stream}");
        passes(&servers.closed, &Method::POST, &path, Some(token)).await
    };
    for stream in stream::ALL {
        let name = stream.name();
        let is_open = stream.write_permission() == WritePermission::Producer;
        for (role, token) in &servers.tokens {
            let expected = matches!(*role, "operator" | "admin");
            assert_eq!(may(token, name).await, expected, "{role} {name}");
        }
        assert_eq!(may(&servers.given, name).await, name == "sensors", "{name}");
        // The reader's token file works as it always did.
        assert_eq!(may(READER, name).await, is_open, "{name}");
        assert!(may(OPERATOR, name).await, "{name}");
    }
}
