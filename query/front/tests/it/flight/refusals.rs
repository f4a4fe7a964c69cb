//! Refusals are held back over Flight as over HTTP, however many calls share a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use headframe_query_front::{QueryConfig, Server, Services};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{Client, rows, status, ticket};
use crate::held_refusals::Metrics;
use crate::postgres::engine::{Seen, engines};
use crate::server::config;

const HELD: &str = "headframe_http_refusals_held_total";
/// What can be planned, and does not run.
const REFUSED: &str = "planned only";

/// A server that listens.
async fn serve(config: QueryConfig) -> SocketAddr {
    let services = Services {
        engines: Some(engines(&Seen::default())),
        ..Services::default()
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
