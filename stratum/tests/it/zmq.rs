//! The ZMQ subscriber: frames cut anywhere, everything a peer should not send, and a publisher that
//! goes away.

use headframe_stratum::chain::monero::zmq::{Notice, TOPIC, listen, notice};
use headframe_stratum::chain::monero::zmtp::{
    Frame, Frames, GREETING, MAX_FRAME, Messages, ZmtpError, check_greeting, greeting, ready,
    subscribe,
};
use headframe_stratum::{Stratum, StratumConfig};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::address::MAINNET;
use crate::facts::Memory;
use crate::regtest::{Monerod, generate};
use crate::scripted::{Client, config};

/// A message as monerod 0.18 publishes it.
fn published(height: u64, ids: &[u8]) -> Vec<u8> {
    let ids: Vec<String> = ids
        .iter()
        .map(|id| format!("\"{}\"", hex::encode([*id; 32])))
        .collect();
    format!(
        "{TOPIC}:{{\"first_height\":{height},\"first_prev_id\":\"{}\",\"ids\":[{}]}}",
        "ab".repeat(32),
        ids.join(",")
    )
    .into_bytes()
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(length) => [&[flags, length], body].concat(),
        Err(_) => [&[flags | 2][..], &(body.len() as u64).to_be_bytes(), body].concat(),
    }
}

#[test]
fn a_notice_names_the_new_end_of_the_chain() {
    assert_eq!(
        notice(&published(7, &[3])),
        Some(Notice {
            hash: [3; 32],
            next_height: 8
        })
    );
    assert_eq!(
        notice(&published(7, &[3, 4])),
        Some(Notice {
            hash: [4; 32],
            next_height: 9
        })
    );
    for other in [
        &b"json-minimal-txpool_add:[]"[..],
        b"",
        b"json-minimal-chain_main",
        b"json-minimal-chain_main:{}",
        &published(7, &[]),
    ] {
        assert_eq!(notice(other), None);
    }
    assert_eq!(notice(&published(u64::MAX, &[1])), None);
}

#[test]
fn a_peer_that_speaks_something_else_is_refused() {
    let good = greeting();
    check_greeting(&good).unwrap();
    let mut newer = good;
    (newer[10], newer[11]) = (3, 1);
    check_greeting(&newer).unwrap();
    let mut old = good;
    old[10] = 1;
    assert_eq!(check_greeting(&old), Err(ZmtpError::Greeting));
    assert_eq!(check_greeting(&[b'H'; GREETING]), Err(ZmtpError::Greeting));
    let mut plain = good;
    plain[12..17].copy_from_slice(b"PLAIN");
    assert_eq!(
        check_greeting(&plain),
        Err(ZmtpError::Mechanism("PLAIN".to_owned()))
    );
}

#[test]
fn frames_that_are_too_long_or_strange_end_the_connection() {
    let refused = |bytes: &[u8]| {
        let mut frames = Frames::default();
        frames.push(bytes);
        frames.take().unwrap_err()
    };
    assert_eq!(refused(&[0x80, 0]), ZmtpError::Flags(0x80));
    assert_eq!(
        refused(&[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ZmtpError::TooLong(u64::MAX)
    );
    let mut messages = Messages::default();
    let part = frame(1, &vec![0; MAX_FRAME / 2 + 1]);
    messages.push(&part);
    assert_eq!(messages.take(), Ok(None));
    messages.push(&part);
    assert_eq!(messages.take(), Err(ZmtpError::Endless));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn frames_survive_any_cut(bodies in prop::collection::vec((prop::collection::vec(any::<u8>(),
        0..400), any::<bool>(), any::<bool>()), 0..8), step in 1usize..50) {
        let frames: Vec<Frame> = bodies.into_iter().map(|(body, more, command)| Frame { command,
            more: more && !command, body }).collect();
        let flags = |one: &Frame| u8::from(one.more) | if one.command { 4 } else { 0 };
        let wire: Vec<u8> =
            frames.iter().flat_map(|one| frame(flags(one), &one.body)).collect();
        let (mut cut, mut whole) = (Frames::default(), Vec::new());
        for piece in wire.chunks(step) {
            cut.push(piece);
            while let Some(frame) = cut.take().unwrap() {
                whole.push(frame);
            }
        }
        prop_assert_eq!(whole, frames);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut messages = Messages::default();
        messages.push(&bytes);
        while let Ok(Some(message)) = messages.take() {
            let _ = notice(&message);
        }
    }
}

/// The other side of one connection, past its handshake.
async fn publisher(listener: &TcpListener) -> TcpStream {
    let accepted = tokio::time::timeout(Duration::from_secs(240), listener.accept())
        .await
        .expect("no subscriber came");
    let (mut stream, _) = accepted.unwrap();
    let mut theirs = [0; GREETING];
    stream.read_exact(&mut theirs).await.unwrap();
    assert_eq!(theirs, greeting());
    stream.write_all(&greeting()).await.unwrap();
    let expected = [ready(), subscribe(TOPIC)].concat();
    let mut said = vec![0; expected.len()];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, expected);
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_reads_notices_and_comes_back_after_a_break() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, mut notices) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let listening = tokio::spawn({
        let stop = stop.clone();
        async move { listen(&address, |notice| sender.try_send(notice).unwrap(), stop).await }
    });
    let mut stream = publisher(&listener).await;
    // Something else in between, a message in two frames, and a ping of a newer version.
    let other = frame(0, b"json-minimal-txpool_add:[]");
    let whole = published(7, &[3]);
    let halves = [frame(1, &whole[..30]), frame(0, &whole[30..])].concat();
    stream
        .write_all(&[other, frame(4, b"\x04PING\0\0"), halves].concat())
        .await
        .unwrap();
    let next = tokio::time::timeout(Duration::from_secs(240), notices.recv())
        .await
        .expect("no notice came");
    assert_eq!(
        next,
        Some(Notice {
            hash: [3; 32],
            next_height: 8
        })
    );
    // A frame that nobody should hold makes the subscriber start anew.
    stream
        .write_all(&[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
        .await
        .unwrap();
    let mut stream = publisher(&listener).await;
    stream
        .write_all(&frame(0, &published(8, &[4])))
        .await
        .unwrap();
    let next = tokio::time::timeout(Duration::from_secs(240), notices.recv())
        .await
        .expect("no notice came");
    assert_eq!(next.unwrap().next_height, 9);
    stop.cancel();
    listening.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_daemons_blocks_reach_miners_by_notice() {
    let monerod = Monerod::start_with(1, tempfile::tempdir).await;
    // A poll every ten minutes finds nothing in the time of this test: what is heard is heard by
    // ZMQ.
    let mut config = StratumConfig {
        daemon_urls: vec![monerod.url.clone()],
        poll_ms: 600_000,
        template_refresh_s: 600,
        ..config()
    };
    config.daemons.zmq_urls = vec![monerod.zmq.clone()];
    config.daemons.silent_s = 3600;
    let bound = Stratum::bind(config, Arc::new(Memory::new()))
        .await
        .unwrap();
    let (address, stats) = (bound.local_addr(), bound.stats());
    let stop = CancellationToken::new();
    let pool = tokio::spawn(bound.run(stop.clone()));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
    until(deadline, || stats.snapshot().unready.is_none()).await;
    // The subscription may come a moment after the first look, so blocks are made until one is
    // heard of.
    let before = stats.snapshot().height;
    let heard = async {
        loop {
            generate(&monerod, 1, None).await;
            let heard = until(deadline, || stats.snapshot().height > before);
            if tokio::time::timeout(Duration::from_secs(2), heard)
                .await
                .is_ok()
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(240), heard)
        .await
        .expect("no block was heard of");
    // More than one may have been made by then, and the last of them may be on its way.
    let tip = monerod.call("get_info", json!({})).await["height"]
        .as_u64()
        .unwrap();
    until(
        tokio::time::Instant::now() + Duration::from_secs(240),
        || stats.snapshot().height == tip,
    )
    .await;
    let mut client = Client::connect(address).await;
    client
        .send(&format!(
            r#"{{"id":1,"method":"login","params":{{"login":"{MAINNET}","pass":"x"}}}}"#
        ))
        .await;
    assert_eq!(client.hear().await["result"]["job"]["height"], tip);
    generate(&monerod, 1, None).await;
    assert_eq!(
        client.hear().await["params"]["height"],
        tip + 1,
        "the miner hears of it without being asked"
    );
    stop.cancel();
    pool.await.unwrap();
}

async fn until(deadline: tokio::time::Instant, wanted: impl Fn() -> bool) {
    while !wanted() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "did not happen in time"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
