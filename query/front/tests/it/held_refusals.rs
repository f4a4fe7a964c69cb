//! A flood of statements that are all refused costs few answers, and nobody else anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headframe_query_front::{QueryConfig, Server, Services};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::{GOOD, SLOW, Scripted};
use crate::server::config;

const BAD: &str = "SELECT nonsense";
/// The one who floods, and somebody else.
pub const FLOOD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Longer than any test.
const NEVER_MS: u64 = 36_000_000;

/// A server on the engine, without any other limit that a test reaches.
async fn serve(config: QueryConfig, engine: &Arc<Scripted>) -> SocketAddr {
    let config = QueryConfig {
        header_timeout_ms: NEVER_MS,
        idle_timeout_ms: NEVER_MS,
        body_timeout_ms: NEVER_MS,
        write_timeout_ms: NEVER_MS,
        timeout_s: 86_400,
        ..config
    };
    let services = Services {
        engines: Some(engine.engines()),
        ..Services::default()
    };
    let bound = Server::bind(config, services).await.unwrap();
    let address = bound.address();
    tokio::spawn(bound.run(CancellationToken::new()));
    address
}

/// A connection that stays open.
struct Client(TcpStream);

impl Client {
    async fn connect(from: Ipv4Addr, server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Self(socket.connect(server).await.unwrap())
    }

    /// Sends a statement.
    async fn send(&mut self, sql: &str) {
        let head = format!(
            "POST /api/v1/sql HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/plain\r\n\
             content-length: {}\r\n\r\n{sql}",
            sql.len()
        );
        self.0.write_all(head.as_bytes()).await.unwrap();
    }

    /// The status of the next answer, after all of it has come.
    async fn status(&mut self) -> u16 {
        let mut bytes = Vec::new();
        let mut piece = [0; 4_096];
        while !is_whole(&bytes) {
            let read = self.0.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&piece[..read]);
        }
        let text = String::from_utf8_lossy(&bytes);
        text[9..12].parse().unwrap()
    }

    async fn ask(&mut self, sql: &str) -> u16 {
        self.send(sql).await;
        self.status().await
    }

    async fn live(&mut self) -> u16 {
        let request = b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        self.0.write_all(request).await.unwrap();
        self.status().await
    }
}

/// Whether an answer has ended, by its length or by its last chunk.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => body.len() >= length.parse::<usize>().unwrap(),
        None => body.ends_with("0\r\n\r\n"),
    }
}

/// Clients that send the same statement again as soon as it was refused.
struct Flood {
    requests: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Flood {
    async fn start(clients: usize, server: SocketAddr) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let requests = requests.clone();
            let mut client = Client::connect(FLOOD, server).await;
            tasks.spawn(async move {
                // A flood that nothing holds back would end only here.
                while requests.fetch_add(1, Ordering::Relaxed) < 50_000 {
                    assert!(matches!(client.ask(BAD).await, 400 | 429));
                }
            });
        }
        Self {
            requests,
            clients: tasks,
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until so many were sent.
    async fn until(&self, count: usize) {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while self.requests() < count {
            looks.tick().await;
        }
    }
}

/// What the server counts, which runs on the thread of its test.
pub struct Metrics {
    page: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Metrics {
    pub fn record() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let page = recorder.handle();
        let recorder: &'static PrometheusRecorder = Box::leak(Box::new(recorder));
        Self {
            page,
            _recorder: metrics::set_default_local_recorder(recorder),
        }
    }

    pub fn value(&self, name: &str) -> u64 {
        let (page, name) = (self.page.render(), format!("{name} "));
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

#[tokio::test]
async fn a_flood_of_refusals_gets_one_answer_a_second_and_client() {
    let engine = Scripted::new();
    let server = serve(config(), &engine).await;
    let began = Instant::now();
    let mut flood = Flood::start(16, server).await;
    // Probes, statements and a refusal now and then of somebody else go on meanwhile, and so do the
    // probes of the address that floods.
    let mut other = Client::connect(OTHER, server).await;
    let mut same = Client::connect(FLOOD, server).await;
    for _ in 0..40 {
        assert_eq!(other.live().await, 200);
        assert_eq!(other.ask(GOOD).await, 200);
        assert_eq!(other.ask(BAD).await, 400);
        assert_eq!(same.live().await, 200);
    }
    // Eight answers are free, seven come after less than a second, and each client waits for one.
    let early = 8 + 7 + 16;
    flood.until(early + 2 * 16 + 1).await;
    let seconds = began.elapsed().as_secs_f64();
    assert!(
        seconds >= 2.0,
        "{} requests in {seconds} s",
        flood.requests()
    );
    flood.clients.abort_all();
}

#[tokio::test]
async fn a_statement_that_succeeds_ends_the_waiting_of_its_address() {
    let metrics = Metrics::record();
    let server = serve(config(), &Scripted::new()).await;
    let mut client = Client::connect(FLOOD, server).await;
    let began = Instant::now();
    for _ in 0..8 + 6 {
        assert_eq!(client.ask(BAD).await, 400);
    }
    assert!(began.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80 + 160 + 320));
    assert_eq!(metrics.value("headframe_http_refusals_held_total"), 6);
    for _ in 0..3 {
        assert_eq!(client.ask(GOOD).await, 200);
        for _ in 0..8 {
            assert_eq!(client.ask(BAD).await, 400);
        }
    }
    assert_eq!(metrics.value("headframe_http_refusals_held_total"), 6);
}

#[tokio::test]
async fn held_refusals_leave_half_of_the_connections_of_an_address() {
    let metrics = Metrics::record();
    let config = QueryConfig {
        max_connections_per_address: 8,
        ..config()
    };
    let server = serve(config, &Scripted::new()).await;
    let mut flood = Flood::start(7, server).await;
    let mut probe = Client::connect(FLOOD, server).await;
    let mut most = 0;
    while most < 4 || flood.requests() < 500 {
        assert_eq!(probe.live().await, 200);
        let held = metrics.value("headframe_http_refusals_held");
        assert!(held <= 4, "{held} refusals are held");
        most = most.max(held);
    }
    flood.clients.abort_all();
}

#[tokio::test]
async fn a_statement_without_a_slot_is_refused_whole() {
    let config = QueryConfig {
        max_concurrent: 1,
        ..config()
    };
    let engine = Scripted::new();
    let server = serve(config, &engine).await;
    let mut slow = Client::connect(OTHER, server).await;
    slow.send(SLOW).await;
    engine.started.acquire().await.unwrap().forget();
    // Its body is no statement at all, which nobody has looked at; the connection stays usable.
    let mut second = Client::connect(FLOOD, server).await;
    let large = format!("{{{}", " ".repeat(1 << 20));
    for _ in 0..3 {
        assert_eq!(second.ask(&large).await, 429);
    }
    assert_eq!(second.live().await, 200);
    engine.go_on.add_permits(1);
    assert_eq!(slow.status().await, 200);
    assert_eq!(second.ask(&large).await, 400);
    assert_eq!(second.ask(GOOD).await, 200);
}
