//! Whole sessions of the PostgreSQL wire over a socket: every message in any order, with
//! statements, parameters, portals, settings and what they hold.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headframe_query_front::{PostgresConfig, QueryConfig, Server, Services};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::engine::Scripted;

/// Messages of one session: more errors than these wait for each other.
const MAX_MESSAGES: usize = 8;
/// No session takes so long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of all answers of a session.
const MAX_BYTES: usize = 1 << 20;

/// A wire with a runtime of its own.
struct Wire {
    runtime: Runtime,
    address: SocketAddr,
}

thread_local! {
    static WIRE: Wire = Wire::start();
}

impl Wire {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime begins");
        let any_port: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let config = QueryConfig {
            listen: any_port,
            ..QueryConfig::default()
        };
        let services = Services {
            engines: Some(Scripted::new().engines()),
            postgres: PostgresConfig {
                listen: Some(any_port),
                ..PostgresConfig::default()
            },
            ..Services::default()
        };
        let bound = runtime.block_on(Server::bind(config, services));
        let bound = bound.expect("two ports are free");
        let address = bound.postgres_address().expect("the wire listens");
        runtime.spawn(bound.run(CancellationToken::new()));
        Self { runtime, address }
    }
}

/// Each message is its kind, the length of its body in a byte, and its body.
pub fn run(mut bytes: &[u8]) {
    let (mut sent, mut leaves) = (startup(), false);
    for _ in 0..MAX_MESSAGES {
        let [kind, length, rest @ ..] = bytes else {
            break;
        };
        let (body, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        message(*kind, body, &mut sent);
        leaves |= *kind == b'X';
        bytes = rest;
    }
    message(b'S', b"", &mut sent);
    message(b'X', b"", &mut sent);
    let kinds = kinds_of(&answer_to(&sent));
    let last = kinds.last().copied();
    assert!(
        leaves || matches!(last, None | Some(b'Z' | b'E')),
        "the session ends with {last:?}"
    );
}

fn startup() -> Vec<u8> {
    let body = [&196_608_u32.to_be_bytes()[..], b"user\0somebody\0\0"].concat();
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&length[..], &body].concat()
}

fn message(kind: u8, body: &[u8], sent: &mut Vec<u8>) {
    sent.push(kind);
    sent.extend((body.len() as u32 + 4).to_be_bytes());
    sent.extend_from_slice(body);
}

/// Everything that the server says until it closes.
fn answer_to(sent: &[u8]) -> Vec<u8> {
    WIRE.with(|wire| {
        let talked = async {
            let socket = TcpSocket::new_v4().expect("a socket");
            // Errors of one address would wait for those of the sessions before.
            let _ = socket.bind((next_address(), 0).into());
            let mut stream = socket.connect(wire.address).await.expect("it listens");
            // It may close before it was told everything.
            let _ = stream.write_all(sent).await;
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            assert!(said.len() <= MAX_BYTES, "the answer has no end");
            said
        };
        let talked = async { timeout(PATIENCE, talked).await };
        wire.runtime.block_on(talked).expect("the session ends")
    })
}

/// Another address of this machine each time.
fn next_address() -> Ipv4Addr {
    static LAST: AtomicU32 = AtomicU32::new(1);
    let number = LAST.fetch_add(1, Ordering::Relaxed) % 0x00ff_fff0 + 2;
    Ipv4Addr::from_bits(0x7f00_0000 | number)
}

/// The kinds of the messages, every one of which has the length that it says.
fn kinds_of(mut said: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [kind, a, b, c, d, rest @ ..] = said {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        assert!(length >= 4, "a message of {length} bytes");
        assert!(kind.is_ascii_alphanumeric(), "a message {kind}");
        let Some(rest) = rest.get(length - 4..) else {
            break;
        };
        kinds.push(*kind);
        said = rest;
    }
    kinds
}
