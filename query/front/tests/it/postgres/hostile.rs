//! Clients that do not follow the protocol, or take more than they may.

use headframe_query_front::wire::postgres::message::{read_message, read_startup};
use headframe_query_front::{PostgresConfig, QueryConfig};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::AsyncWriteExt;

use super::client::{Wire, kinds, sqlstate, tag};
use crate::server::config;

#[tokio::test]
async fn what_is_no_message_ends_the_session_and_nothing_else() {
    let wire = Wire::start().await;
    let mut other = wire.connect().await;
    let short: [(u8, &[u8]); 12] = [
        (b'Q', b"no end"),
        (b'Q', b"\xff\0"),
        (b'Q', b"rows 1\0more"),
        (b'P', b"\0rows 1\0\xff\xff"),
        (b'B', b"\0\0\0\0\xff\xff"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xf0"),
        (b'D', b"X\0"),
        (b'D', b""),
        (b'E', b"\0\0"),
        (b'p', b"late"),
        (b'?', b""),
    ];
    for (kind, body) in short {
        let mut client = wire.connect().await;
        client.send(kind, body).await;
        let replies = client.until_ready().await;
        assert_eq!(
            sqlstate(&replies).as_deref(),
            Some("08P01"),
            "{kind} {body:?}"
        );
        assert_eq!(kinds(&replies), "E", "it is closed");
    }
    assert_eq!(tag(&other.query("rows 1").await), "SELECT 1");
}

#[tokio::test]
async fn what_is_no_start_up_packet_is_refused() {
    let wire = Wire::start().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\0\0\0\0",
        b"\0\0\0\x07\0\0\0",
        b"\xff\xff\xff\xff\0\x03\0\0",
        b"\0\0\0\x08\0\x02\0\0",
        b"\0\0\0\x09\0\x03\0\0\0",
        b"\0\0\0\x0d\0\x03\0\0user",
    ] {
        let mut client = wire.raw().await;
        client.stream.write_all(bytes).await.unwrap();
        let replies = client.until_ready().await;
        assert_eq!(kinds(&replies), "E", "{bytes:?}");
    }
    let mut newer = wire.raw().await;
    newer.packet(b"\0\x03\0\x02user\0me\0_pq_.x\0y\0\0").await;
    assert!(kinds(&newer.until_ready().await).starts_with("vR"));
}

#[tokio::test]
async fn a_message_may_be_no_larger_than_the_configuration_says() {
    let postgres = PostgresConfig {
        max_message_kib: 64,
        ..PostgresConfig::default()
    };
    let wire = Wire::start_with(config(), postgres).await;
    let mut client = wire.connect().await;
    let mut head = vec![b'Q'];
    head.extend(0x7fff_ffff_u32.to_be_bytes());
    client.stream.write_all(&head).await.unwrap();
    assert_eq!(
        sqlstate(&client.until_ready().await).as_deref(),
        Some("08P01")
    );
}

#[tokio::test]
async fn a_message_that_does_not_end_and_a_session_that_is_silent_are_ended() {
    let query = QueryConfig {
        body_timeout_ms: 200,
        ..config()
    };
    let wire = Wire::start_with(query, PostgresConfig::default()).await;
    let mut slow = wire.connect().await;
    slow.stream.write_all(b"Q\0\0\0\x20rows").await.unwrap();
    assert_eq!(
        sqlstate(&slow.until_ready().await).as_deref(),
        Some("08P01")
    );
    let postgres = PostgresConfig {
        idle_timeout_s: 1,
        ..PostgresConfig::default()
    };
    let wire = Wire::start_with(config(), postgres).await;
    let mut idle = wire.connect().await;
    assert_eq!(
        sqlstate(&idle.until_ready().await).as_deref(),
        Some("57P05")
    );
}

#[tokio::test]
async fn connections_are_bounded_and_end_with_the_server() {
    let postgres = PostgresConfig {
        max_connections: 2,
        ..PostgresConfig::default()
    };
    let wire = Wire::start_with(config(), postgres).await;
    let (mut one, _two) = (wire.connect().await, wire.connect().await);
    let mut third = wire.raw().await;
    assert_eq!(
        sqlstate(&third.until_ready().await).as_deref(),
        Some("53300")
    );
    wire.stop.cancel();
    assert_eq!(sqlstate(&one.until_ready().await).as_deref(), Some("57P01"));
}

/// Bodies that are almost messages: a good one with some bytes changed and cut off.
fn almost_messages() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let good = prop_oneof![
        Just((b'P', super::client::parse("s", "SELECT $1", &[23, 25]))),
        Just((
            b'B',
            super::client::bind("p", "s", &[(0, Some(b"x")), (1, None)], &[1])
        )),
        Just((b'E', super::client::execute("p", 7))),
        Just((b'D', b"Sname\0".to_vec())),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..64)),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (good, changes, 0..80_usize).prop_map(|((kind, mut body), changes, length)| {
        for (index, byte) in changes {
            if !body.is_empty() {
                let at = index.index(body.len());
                body[at] = byte;
            }
        }
        body.truncate(length);
        (kind, body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn bytes_are_a_message_or_an_error((kind, body) in almost_messages()) {
        let _ = read_message(kind, &body);
        let _ = read_startup(&body);
    }
}

#[tokio::test]
async fn any_row_of_messages_is_answered_and_hurts_nobody_else() {
    let wire = Wire::start().await;
    let mut other = wire.connect().await;
    let mut runner = TestRunner::deterministic();
    let rows = prop::collection::vec(almost_messages(), 0..12);
    for case in 0..200 {
        let messages = rows.new_tree(&mut runner).unwrap().current();
        let mut bytes = Vec::new();
        for (kind, body) in messages.iter().chain([&(b'S', Vec::new())]) {
            bytes.push(*kind);
            bytes.extend((body.len() as u32 + 4).to_be_bytes());
            bytes.extend(body);
        }
        let mut client = wire.connect().await;
        // The server may have closed by the time the last of it is written.
        let _ = client.stream.write_all(&bytes).await;
        let answered = kinds(&client.until_ready().await);
        let left = messages.iter().any(|(kind, _)| *kind == b'X');
        assert!(
            answered.ends_with(['Z', 'E']) || left,
            "case {case}: {answered:?} to {messages:?}"
        );
        // A statement that succeeds also ends the waiting of this address.
        assert_eq!(tag(&other.query("rows 1").await), "SELECT 1");
    }
}
