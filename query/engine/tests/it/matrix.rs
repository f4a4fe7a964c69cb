//! Every table by every role, asked of a running server, as docs/accounts.md says: here over HTTP.
//! The front's tests ask every route by every role of the same table.

mod wires;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use headframe_query_engine::catalog::access_table::access_table;
use headframe_query_engine::catalog::described;
use headframe_query_front::access::Role;
use headframe_query_front::access::accounts::NewAccount;
use headframe_query_front::route::{self, CALLERS};
use headframe_query_front::{BoundServer, PostgresConfig, QueryConfig, Server, Services};
use headframe_schemas::stream;

use crate::account_store::{MemoryStore, PASSWORD, accounts, actor};
use crate::own_rows::world::{self, FOREIGN, OWN};
use crate::server::{Answer, config, engines, send};

/// Set `HEADFRAME_BLESS=1` to write what the program says into the document.
#[test]
fn the_table_of_who_gets_what_is_that_of_the_program() {
    let path = "../../docs/accounts.md";
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- generated: access -->\n").unwrap();
    let (table, after) = rest.split_once("<!-- end -->").unwrap();
    let wanted = access_table();
    if table != wanted && std::env::var_os("HEADFRAME_BLESS").is_some() {
        let page = format!("{before}<!-- generated: access -->\n{wanted}<!-- end -->{after}");
        std::fs::write(path, page).unwrap();
    } else {
        assert_eq!(table, wanted, "HEADFRAME_BLESS=1 rewrites it");
    }
}

/// A server with rows in every table that nobody asks without a token, and a token and a user, the
/// role behind `the-`, of each role.
async fn closed() -> (
    BoundServer,
    Vec<(&'static str, String)>,
    tempfile::NamedTempFile,
) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a-token-of-20-letters").unwrap();
    let config = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let accounts = accounts(&MemoryStore::new()).await;
    let mut tokens = Vec::new();
    for role in Role::NAMES {
        let account = |article| NewAccount {
            name: format!("{article}-{role}"),
            role: Role::parse(role, (*role == "miner").then_some(OWN)).unwrap(),
            streams: Vec::new(),
        };
        let token = accounts.add_token(actor(), account("a"), None);
        tokens.push((*role, token.await.unwrap()));
        let user = accounts.add_user(actor(), account("the"), PASSWORD);
        user.await.unwrap();
    }
    let services = Services {
        engines: engines(&config, world::sources(|_| true).await),
        accounts: Some(accounts),
        postgres: PostgresConfig {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            ..PostgresConfig::default()
        },
        ..Services::default()
    };
    let bound = Server::bind(config, services).await.unwrap();
    (bound, tokens, file)
}

async fn select(router: &Router, token: Option<&str>, sql: &str) -> Answer {
    let mut request = Request::post("/api/v1/sql?format=ndjson")
        .header("host", "mine.example.org")
        .header("content-type", "text/plain");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::from(sql.to_owned())).unwrap();
    send(router, request).await
}

#[tokio::test]
async fn every_role_reads_the_tables_that_the_documents_say_and_no_other() {
    let (server, tokens, _file) = closed().await;
    let router = server.router();
    let table = access_table();
    let rows: Vec<&str> = table.lines().skip(2 + route::ALL.len()).collect();
    assert_eq!(rows.len(), described::all().len());
    let mut statements = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        for (caller, cell) in CALLERS.iter().zip(&cells[1..]) {
            let token = tokens.iter().find(|(role, _)| Some(*role) == caller.role);
            let token = token.map(|(_, token)| token.as_str());
            if caller.role == Some("miner") && !caller.is_own {
                // Of others there are no rows in its answers, as is looked at below.
                assert_eq!(*cell, "no", "{row}");
                continue;
            }
            let answer = select(&router, token, &format!("SELECT * FROM {name}")).await;
            let text = answer.text();
            let expected = match (caller.role, *cell) {
                (None, _) => 401,
                (_, "no") => 400,
                _ => 200,
            };
            assert_eq!(
                answer.status.as_u16(),
                expected,
                "{} {name}: {text}",
                caller.name
            );
            if caller.is_own && expected == 200 {
                let is_stream = stream::find(name).is_some();
                assert!(!is_stream || !text.is_empty(), "{name} has rows of it");
                let foreign = FOREIGN.iter().find(|foreign| text.contains(**foreign));
                assert_eq!(foreign, None, "{name}: {text}");
                let hidden = cell.strip_prefix("without ").unwrap_or_default();
                let hidden = hidden.split(", ").filter(|column| !column.is_empty());
                for column in hidden.chain(["`seq`", "`row`", "`producer`"]) {
                    let column = format!("\"{}\":", column.trim_matches('`'));
                    assert!(!text.contains(&column), "{name} shows {column}: {text}");
                }
            }
            statements += 1;
        }
    }
    assert!(statements >= 6 * 30, "{statements}");
}
