//! Refusals are held back over Flight as over HTTP, however many calls share a connection, and
//! calls are counted as HTTP's requests are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use headframe_query_front::request_log::RequestLog;
use headframe_query_front::{QueryConfig, Server, Services};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{Client, rows, status, ticket};
use crate::account_store::{MemoryStore, accounts, token};
use crate::held_refusals::Metrics;
use crate::postgres::engine::{Seen, engines};
use crate::server::{READER, config, token_file};

const HELD: &str = "headframe_http_refusals_held_total";
/// What can be planned, and does not run.
const REFUSED: &str = "planned only";

/// A server that listens.
async fn serve(config: QueryConfig) -> SocketAddr {
    serve_with(config, Services::default()).await
}

async fn serve_with(config: QueryConfig, more: Services) -> SocketAddr {
    let services = Services {
        engines: Some(engines(&Seen::default())),
        ..more
    };
    let bound = Server::bind(config, services).await.unwrap();
    let address = bound.address();
    tokio::spawn(bound.run(CancellationToken::new()));
    address
}

/// Makes clients whose calls all go over one connection.
async fn connect(server: SocketAddr) -> Router {
    let stream = TcpStream::connect(server).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    Router::new().fallback(move |mut request: Request<Body>| {
        let mut sender = sender.clone();
        let uri = format!("http://{server}{}", request.uri().path());
        *request.uri_mut() = uri.parse().unwrap();
        async move {
            let response = sender.send_request(request).await.unwrap();
            response.map(Body::new).into_response()
        }
    })
}

/// Plans a statement, which works, and asks for its rows, which there are not.
async fn refused(client: &mut Client) {
    let info = client.execute(REFUSED.to_owned(), None).await.unwrap();
    let refusal = status(client.do_get(ticket(&info)).await.err().unwrap());
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
}

#[tokio::test]
async fn a_refused_statement_is_held_back_although_it_was_planned() {
    let metrics = Metrics::record();
    let server = serve(config()).await;
    let mut client = FlightSqlServiceClient::new(connect(server).await);
    let began = Instant::now();
    for _ in 0..8 + 6 {
        refused(&mut client).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80 + 160 + 320));
    assert_eq!(metrics.value(HELD), 6);
    for _ in 0..3 {
        let info = client.execute("rows 1".to_owned(), None).await.unwrap();
        assert_eq!(rows(&mut client, &info).await.unwrap().len(), 1);
        for _ in 0..8 {
            refused(&mut client).await;
        }
    }
    assert_eq!(metrics.value(HELD), 6);
}

#[tokio::test]
async fn all_calls_of_a_connection_are_held_back() {
    let query = QueryConfig {
        max_connections_per_address: 4,
        max_concurrent: 1_000,
        ..config()
    };
    let server = serve(query).await;
    let connection = connect(server).await;
    let began = Instant::now();
    let (sent, calls) = (Arc::new(AtomicUsize::new(0)), 16);
    let mut flood = JoinSet::new();
    for _ in 0..calls {
        let mut client = FlightSqlServiceClient::new(connection.clone());
        let sent = sent.clone();
        flood.spawn(async move {
            // A flood that nothing holds back would end only here.
            while sent.fetch_add(1, Ordering::Relaxed) < 50_000 {
                refused(&mut client).await;
            }
        });
    }
    // Eight answers are free, seven come after less than a second, and each call waits for one.
    let early = 8 + 7 + calls;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while sent.load(Ordering::Relaxed) < early + 2 * calls + 1 {
        looks.tick().await;
    }
    let (seconds, sent) = (began.elapsed().as_secs_f64(), sent.load(Ordering::Relaxed));
    assert!(seconds >= 2.0, "{sent} statements in {seconds} s");
}

/// One call a second and three at once.
fn strict() -> QueryConfig {
    QueryConfig {
        requests_per_s: 1,
        request_burst: 3,
        ..config()
    }
}

/// Calls until it is refused for the number of its calls; says how many were not.
async fn flood(client: &mut Client) -> (usize, Status) {
    for answered in 0..10_000 {
        match client.get_catalogs().await.map_err(status) {
            Err(refusal) if refusal.code() == Code::ResourceExhausted => {
                return (answered, refusal);
            }
            _ => {}
        }
    }
    panic!("no call was one too many");
}

#[tokio::test]
async fn a_flood_of_calls_is_refused_by_name_and_by_address() {
    let file = token_file(READER);
    let accounts = accounts(&MemoryStore::new()).await;
    let viewer = token(&accounts, "viewer").await;
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..strict()
    };
    let services = Services {
        accounts: Some(accounts),
        ..Services::default()
    };
    let connection = connect(serve_with(guarded, services).await).await;
    let client = |token: Option<&str>| {
        let mut client = FlightSqlServiceClient::new(connection.clone());
        token
            .into_iter()
            .for_each(|token| client.set_token(token.to_owned()));
        client
    };
    // A stranger is counted by its address, refused or not, whether it shakes hands or calls.
    let (answered, refusal) = flood(&mut client(None)).await;
    assert!(answered >= 3, "{answered}");
    let metadata = |name: &str| refusal.metadata().get(name).unwrap().to_str().unwrap();
    assert_eq!(
        (metadata("headframe-error"), metadata("retry-after")),
        ("rate_limit", "1")
    );
    let mut refused = None;
    for _ in 0..10_000 {
        refused = client(None).handshake("whoever", READER).await.err();
        if refused.is_some() {
            break;
        }
    }
    let said = refused.expect("a handshake is one too many").to_string();
    assert!(said.contains("sends more requests"), "{said}");
    // From the same address each name has its own.
    for name in [READER, &viewer] {
        let mut client = client(Some(name));
        let info = client.get_catalogs().await.unwrap();
        let (answered, _) = flood(&mut client).await;
        assert!(answered >= 2, "{name}: {answered}");
        // The rows of what was planned have slots instead.
        for _ in 0..20 {
            assert_eq!(rows(&mut client, &info).await.unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn the_calls_of_a_trusted_program_are_not_counted() {
    let mut client = FlightSqlServiceClient::new(connect(serve(strict()).await).await);
    for _ in 0..50 {
        client.get_catalogs().await.unwrap();
    }
}

#[tokio::test]
async fn each_call_is_a_row_of_requests_with_how_it_ended() {
    let file = token_file(READER);
    let log = RequestLog::default();
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..config()
    };
    let services = Services {
        request_log: Some(log.clone()),
        ..Services::default()
    };
    let connection = connect(serve_with(guarded, services).await).await;
    let mut client = FlightSqlServiceClient::new(connection);
    assert!(client.execute("rows 1".to_owned(), None).await.is_err());
    client.set_token(READER.to_owned());
    for sql in ["rows 3", "late error"] {
        let info = client.execute(sql.to_owned(), None).await.unwrap();
        let _ = rows(&mut client, &info).await;
    }
    assert!(client.execute("missing".to_owned(), None).await.is_err());
    // A row is there when its answer was sent whole, which the client may see a moment before.
    let mut rows = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(240);
    while rows.len() < 6 && Instant::now() < deadline {
        rows.extend(log.take());
        tokio::task::yield_now().await;
    }
    let mut found: Vec<(&str, &str, u16)> = rows
        .iter()
        .map(|row| (&*row.principal, &*row.route, row.status))
        .collect();
    found.sort_unstable();
    let expected = [
        ("anonymous", "GetFlightInfo", 401),
        ("reader", "DoGet", 200),
        ("reader", "DoGet", 507),
        ("reader", "GetFlightInfo", 200),
        ("reader", "GetFlightInfo", 200),
        ("reader", "GetFlightInfo", 400),
    ];
    assert_eq!(found, expected);
    for row in &rows {
        assert_eq!(
            (&*row.wire, row.peer.as_deref()),
            ("flight", Some("127.0.0.1"))
        );
        assert_eq!(
            row.bytes > 0,
            row.status == 200 || row.status == 507,
            "{row:?}"
        );
    }
}
