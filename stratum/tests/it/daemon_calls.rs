//! Calls to a monerod: however much there is to ask, few are under way at once, because monerod
//! resets every connection beyond 25 from one address.

use futures::future::join_all;
use headframe_stratum::chain::monero::MoneroChain;
use headframe_stratum::chain::{Chain, FoundBlock};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::address::MAINNET;
use crate::epoch::until;

/// Calls that may be under way, of all kinds together.
const MOST_CALLS: usize = 8;
/// What one address may have open at a monerod.
const MOST_CONNECTIONS: usize = 25;

/// A daemon that refuses every call, once the gate is open, and counts.
struct Counting {
    connections: Gauge,
    calls: Gauge,
    gate: Semaphore,
}

/// How many there are, and how many there were at most.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn begin(&self) {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
    }

    fn end(&self) {
        self.now.fetch_sub(1, SeqCst);
    }
}

async fn serve(listener: TcpListener, daemon: Arc<Counting>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let daemon = daemon.clone();
        connections.spawn(async move {
            daemon.connections.begin();
            answer(stream, &daemon).await;
            daemon.connections.end();
        });
    }
}

/// Answers the calls of one connection, until it ends.
async fn answer(stream: TcpStream, daemon: &Counting) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        daemon.calls.begin();
        drop(daemon.gate.acquire().await);
        daemon.calls.end();
        let refusal = json!({"id": "0", "error": {"code": -1, "message": "not now"}}).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
        let text = format!("{head}: {}\r\n\r\n{refusal}", refusal.len());
        stream.get_mut().write_all(text.as_bytes()).await.ok()?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_calls_are_under_way_however_much_there_is_to_ask() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let daemon = Arc::new(Counting {
        connections: Gauge::default(),
        calls: Gauge::default(),
        gate: Semaphore::new(0),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, daemon.clone()));
    let chain = MoneroChain::new(&url, MAINNET, Duration::from_secs(240)).unwrap();
    let block = FoundBlock {
        id: [7; 32],
        bytes: vec![1, 2, 3],
    };
    let ask = |height: u64| {
        let (chain, block) = (&chain, &block);
        async move {
            // Whatever they come to: each ends.
            let look = chain.position([7; 32], height);
            let answers = tokio::join!(look, chain.submit(block), chain.tip(), chain.template());
            assert!(answers.2.is_err() && answers.3.is_err());
        }
    };
    let gate = async {
        until("as many calls as may be", || {
            daemon.calls.now.load(SeqCst) >= MOST_CALLS
        })
        .await;
        daemon.gate.close();
    };
    tokio::join!(join_all((0..40).map(ask)), gate);
    let (calls, connections) = (&daemon.calls.most, &daemon.connections.most);
    assert_eq!(calls.load(SeqCst), MOST_CALLS);
    assert!(
        connections.load(SeqCst) < MOST_CONNECTIONS,
        "{connections:?} connections"
    );
}
