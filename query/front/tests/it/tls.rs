//! HTTPS: both versions of HTTP, certificates that are renewed, and what a stranger's handshake
//! may cost.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, Version};
use axum::response::Response;
use axum::routing::get;
use headframe_query_front::{QueryConfig, RouteHandler, Server, Services, TlsConfig};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use crate::account_store::{MemoryStore, PASSWORD, account, accounts, actor};
use crate::server::{config, services};

/// No test waits so long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// Longer than any test.
const NEVER_MS: u64 = 3_600_000;

/// A self-signed certificate of this machine, written to the folder.
pub fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    // The key first: between the two writes the files do not go together.
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

fn https(folder: &TempDir) -> QueryConfig {
    QueryConfig {
        tls: TlsConfig {
            cert_file: Some(folder.path().join("cert.pem")),
            key_file: Some(folder.path().join("key.pem")),
        },
        header_timeout_ms: NEVER_MS,
        idle_timeout_ms: NEVER_MS,
        body_timeout_ms: NEVER_MS,
        write_timeout_ms: NEVER_MS,
        ..config()
    }
}

async fn serve(config: QueryConfig, services: Services) -> SocketAddr {
    let bound = Server::bind(config, services).await.unwrap();
    let address = bound.address();
    let scheme = bound.url();
    tokio::spawn(bound.run(CancellationToken::new()));
    assert!(scheme.starts_with("http"), "{scheme}");
    address
}

async fn handshake(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    secure(stream, trusted, &[protocol.as_bytes()]).await
}

/// The client's side of a handshake, which offers these protocols.
pub async fn secure(
    stream: TcpStream,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// One request over HTTP/1.1.
async fn ask(stream: TlsStream<TcpStream>, request: Request<Body>) -> Response {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap().map(Body::new)
}

async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn live(uri: &str) -> Request<Body> {
    let request = Request::get(uri).header("host", "localhost");
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn https_answers_over_both_versions_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let cert = write_pair(folder.path());
    let address = serve(https(&folder), services()).await;

    let stream = handshake(address, &cert, "http/1.1").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = ask(stream, live("/live")).await;
    assert_eq!(answer.version(), Version::HTTP_11);
    assert_eq!(text(answer).await, "ok\n");

    let stream = handshake(address, &cert, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("https://localhost/live").body(Body::empty());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(text(answer.map(Body::new)).await, "ok\n");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_half_a_renewal_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let old = write_pair(folder.path());
    let address = serve(https(&folder), services()).await;
    assert!(handshake(address, &old, "h2").await.is_ok());
    // A key that does not belong to the certificate, for as long as it likes.
    std::fs::write(folder.path().join("key.pem"), "not a key").unwrap();
    assert!(handshake(address, &old, "h2").await.is_ok());
    let new = write_pair(folder.path());
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let renewed = async {
        while handshake(address, &new, "h2").await.is_err() {
            pace.tick().await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("the new one comes");
    assert!(handshake(address, &old, "h2").await.is_err());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |config: QueryConfig| match Server::bind(config, services()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    };
    let missing = refused(https(&folder)).await;
    assert!(missing.contains("query.tls.cert_file"), "{missing}");
    write_pair(folder.path());
    let good = https(&folder);
    let half = QueryConfig {
        tls: TlsConfig {
            key_file: None,
            ..good.tls.clone()
        },
        ..good.clone()
    };
    let half = refused(half).await;
    assert!(half.contains("query.tls.key_file is not"), "{half}");
    std::fs::write(folder.path().join("cert.pem"), "nothing").unwrap();
    let empty = refused(good.clone()).await;
    assert!(empty.contains("no usable certificate"), "{empty}");
    let other = tempfile::tempdir().unwrap();
    write_pair(other.path());
    write_pair(folder.path());
    std::fs::copy(other.path().join("key.pem"), folder.path().join("key.pem")).unwrap();
    let mixed = refused(good).await;
    assert!(mixed.contains("query.tls: the certificate"), "{mixed}");
}

#[tokio::test]
async fn a_login_over_https_sets_a_cookie_that_browsers_keep_for_https() {
    let folder = tempfile::tempdir().unwrap();
    let cert = write_pair(folder.path());
    let accounts = accounts(&MemoryStore::new()).await;
    let ann = account("ann", "viewer");
    accounts.add_user(actor(), ann, PASSWORD).await.unwrap();
    let services = Services {
        accounts: Some(accounts),
        ..services()
    };
    let address = serve(https(&folder), services).await;
    let connect = async || handshake(address, &cert, "http/1.1").await.unwrap();
    let body = serde_json::json!({"name": "ann", "password": PASSWORD});
    let login = Request::post("/api/v1/login")
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let answer = ask(connect().await, login).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-headframe_session="), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let me = Request::get("/api/v1/me")
        .header("host", "127.0.0.1")
        .header("cookie", cookie.split(';').next().unwrap())
        .body(Body::empty())
        .unwrap();
    let me = text(ask(connect().await, me).await).await;
    assert!(me.contains("\"ann\""), "{me}");
}

/// All that comes until the server closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_closed_and_plain_http_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path());
    let address = serve(https(&folder), services()).await;
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET /live HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut plain).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("HTTPS"), "{answer}");

    let hasty = QueryConfig {
        header_timeout_ms: 50,
        ..https(&folder)
    };
    let address = serve(hasty, services()).await;
    for begin in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(begin).await.unwrap();
        assert_eq!(read_to_end(&mut silent).await, "");
    }
}

/// A server that answers `/api/v1/bans` with more than a client has space for.
async fn endless(config: QueryConfig) -> SocketAddr {
    let handler = RouteHandler {
        method: Method::GET,
        path: "/api/v1/bans",
        answers: get(async || vec![b'x'; 4 << 20]),
    };
    let services = Services {
        handlers: vec![handler],
        ..Services::default()
    };
    serve(config, services).await
}

#[tokio::test]
async fn an_answer_over_http2_that_nobody_takes_ends_its_connection() {
    let hasty = QueryConfig {
        write_timeout_ms: 300,
        header_timeout_ms: NEVER_MS,
        idle_timeout_ms: NEVER_MS,
        ..config()
    };
    // Without TLS a client may begin with HTTP/2 at once.
    let address = endless(hasty).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://127.0.0.1/api/v1/bans").body(Body::empty());
    // The body is held and never read: the socket is free, but this answer has no space.
    let answer = sender.send_request(request.unwrap()).await;
    let ended = timeout(PATIENCE, connection).await;
    let _ = ended.expect("the server closes").unwrap();
    drop(answer);
}

#[tokio::test]
async fn http2_has_the_limits_of_an_idle_connection() {
    let hasty = QueryConfig {
        idle_timeout_ms: 50,
        ..config()
    };
    let address = endless(hasty).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://127.0.0.1/api/v1/bans").body(Body::empty());
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    // It is taken whole although it is longer than the idle limit's bytes and windows.
    let bytes = to_bytes(Body::new(answer.into_body()), 8 << 20).await;
    assert_eq!(bytes.unwrap().len(), 4 << 20);
    let ended = timeout(PATIENCE, connection).await;
    let _ = ended.expect("the server closes").unwrap();
}
