//! How many requests one caller may send: each name and each address has its own, and what is
//! trusted or limited otherwise has none.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use headframe_query_front::{QueryConfig, Server, Services};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::account_store::{MemoryStore, accounts, token};
use crate::server::{OPERATOR, READER, config, services, token_file};

/// Many more than the burst, and than a slow machine gets back meanwhile.
const FLOOD: usize = 10_000;

/// One request a second and three at once.
fn strict() -> QueryConfig {
    QueryConfig {
        requests_per_s: 1,
        request_burst: 3,
        ..config()
    }
}

async fn serve(config: QueryConfig, services: Services) -> SocketAddr {
    let bound = Server::bind(config, services).await.unwrap();
    let address = bound.address();
    tokio::spawn(bound.run(CancellationToken::new()));
    address
}

/// A connection that stays open.
struct Client(SendRequest<Body>);

impl Client {
    async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn ask(&mut self, path: &str, token: Option<&str>) -> (StatusCode, HeaderMap) {
        let mut request = Request::get(path).header("host", "127.0.0.1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).unwrap();
        self.0.ready().await.unwrap();
        let (parts, body) = self.0.send_request(request).await.unwrap().into_parts();
        to_bytes(Body::new(body), 1 << 20).await.unwrap();
        (parts.status, parts.headers)
    }

    /// Asks until it is refused for its number, and says how often it was not.
    async fn flood(&mut self, path: &str, token: Option<&str>) -> usize {
        for answered in 0..FLOOD {
            let (status, headers) = self.ask(path, token).await;
            if status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!(headers["retry-after"], "1");
                return answered;
            }
        }
        panic!("{FLOOD} requests for {path} were answered");
    }
}

#[tokio::test]
async fn a_flood_of_one_caller_is_refused_and_others_go_on() {
    let files = [token_file(READER), token_file(OPERATOR)];
    let accounts = accounts(&MemoryStore::new()).await;
    let viewer = token(&accounts, "viewer").await;
    let config = QueryConfig {
        token_file: Some(files[0].path().to_owned()),
        operator_token_file: Some(files[1].path().to_owned()),
        ..strict()
    };
    let services = Services {
        accounts: Some(accounts),
        ..services()
    };
    let mut client = Client::connect(serve(config, services).await).await;
    // A stranger is counted by its address, refused or not, and whatever it asks for.
    assert!(client.flood("/api/v1/bans", None).await >= 3);
    client.flood("/live", None).await;
    client
        .flood("/nothing/here", Some("a-wrong-token-of-many-letters"))
        .await;
    // From the same address each name has its own.
    for name in [READER, OPERATOR, &viewer] {
        let (status, _) = client.ask("/api/v1/me", Some(name)).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        assert!(client.flood("/api/v1/me", Some(name)).await >= 2);
    }
}

#[tokio::test]
async fn a_trusted_program_and_a_statement_are_not_counted() {
    let mut client = Client::connect(serve(strict(), services()).await).await;
    for _ in 0..50 {
        assert_eq!(client.ask("/api/v1/bans", None).await.0, StatusCode::OK);
    }
    let file = token_file(READER);
    let config = QueryConfig {
        token_file: Some(file.path().to_owned()),
        ..strict()
    };
    let mut client = Client::connect(serve(config, services()).await).await;
    // Few, since refused statements are held back one after the other.
    for _ in 0..9 {
        // There is no engine behind this server.
        let (status, _) = client.ask("/api/v1/sql?q=SELECT+1", Some(READER)).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    client.flood("/api/v1/bans", Some(READER)).await;
}

#[tokio::test]
async fn without_the_limit_there_is_none() {
    let file = token_file(READER);
    let config = QueryConfig {
        token_file: Some(file.path().to_owned()),
        requests_per_s: 0,
        ..strict()
    };
    let mut client = Client::connect(serve(config, services()).await).await;
    for _ in 0..50 {
        let (status, _) = client.ask("/api/v1/me", Some(READER)).await;
        assert_eq!(status, StatusCode::OK);
    }
}
