//! A flood of statements that are all refused costs few answers over this wire as well.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headframe_query_front::{PostgresConfig, QueryConfig};
use tokio::task::JoinSet;

use super::client::{Client, Wire, execute, kinds, parse, sqlstate, tag};
use crate::held_refusals::{FLOOD, Metrics, OTHER};
use crate::server::config;

const HELD: &str = "headframe_postgres_statement_refusals_held_total";

/// A session that is ready, from this address.
async fn connect(wire: &Wire, from: Ipv4Addr) -> Client {
    let mut client = wire.raw_from(from).await;
    client.startup(&[("user", "somebody")]).await;
    client.until_ready().await;
    client
}

/// Asks for no table there is, and is told so.
async fn refused(client: &mut Client) {
    let replies = client.query("missing").await;
    assert_eq!(sqlstate(&replies).as_deref(), Some("42P01"));
}

#[tokio::test]
async fn a_flood_of_refusals_gets_one_answer_a_second_and_session() {
    // All sessions that the address may have.
    let sessions = 16;
    let postgres = PostgresConfig {
        max_connections_per_address: sessions,
        ..PostgresConfig::default()
    };
    let wire = Wire::start_with(config(), postgres).await;
    let began = Instant::now();
    let sent = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..sessions {
        let (mut client, sent) = (connect(&wire, FLOOD).await, sent.clone());
        flood.spawn(async move {
            // A flood that nothing holds back would end only here.
            while sent.fetch_add(1, Ordering::Relaxed) < 50_000 {
                refused(&mut client).await;
            }
        });
    }
    // Somebody else's statements and a mistake now and then go on meanwhile.
    let mut other = connect(&wire, OTHER).await;
    for _ in 0..40 {
        assert_eq!(tag(&other.query("rows 1").await), "SELECT 1");
        refused(&mut other).await;
    }
    // Eight answers are free, seven come after less than a second, and each session waits for one.
    let early = 8 + 7 + sessions;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while sent.load(Ordering::Relaxed) < early + 2 * sessions + 1 {
        looks.tick().await;
    }
    let (seconds, sent) = (began.elapsed().as_secs_f64(), sent.load(Ordering::Relaxed));
    assert!(seconds >= 2.0, "{sent} statements in {seconds} s");
}

#[tokio::test]
async fn a_client_without_a_slot_waits_and_a_statement_that_succeeds_ends_that() {
    let metrics = Metrics::record();
    let query = QueryConfig {
        max_concurrent: 1,
        ..config()
    };
    let wire = Wire::start_with(query, PostgresConfig::default()).await;
    let mut slow = connect(&wire, OTHER).await;
    slow.send(b'Q', b"silent\0").await;
    wire.until(1).await;
    let mut client = connect(&wire, FLOOD).await;
    let began = Instant::now();
    for _ in 0..8 + 6 {
        let replies = client.query("rows 1").await;
        assert_eq!(sqlstate(&replies).as_deref(), Some("53300"));
        // What needs no slot is answered, and ends nothing.
        assert_eq!(tag(&client.query("SHOW server_version").await), "SHOW");
    }
    assert!(began.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80 + 160 + 320));
    assert_eq!(metrics.value(HELD), 6);
    drop(slow);
    wire.until(0).await;
    for _ in 0..3 {
        assert_eq!(tag(&client.query("rows 1").await), "SELECT 1");
        for _ in 0..8 {
            refused(&mut client).await;
        }
    }
    assert_eq!(metrics.value(HELD), 6);
}

#[tokio::test]
async fn what_is_sent_ahead_is_refused_one_by_one_and_a_hang_up_ends_the_wait() {
    let metrics = Metrics::record();
    let wire = Wire::start().await;
    let mut client = connect(&wire, FLOOD).await;
    let began = Instant::now();
    let bind = super::client::bind("", "", &[], &[]);
    for _ in 0..8 + 6 {
        client.send(b'P', &parse("", "missing", &[])).await;
        client.send(b'B', &bind).await;
        client.send(b'E', &execute("", 0)).await;
        client.send(b'S', b"").await;
    }
    for _ in 0..8 + 6 {
        assert_eq!(kinds(&client.until_ready().await), "12EZ");
    }
    assert!(began.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80 + 160 + 320));
    // The rest would take the server half an hour.
    for _ in 0..2_000 {
        client.send(b'Q', b"missing\0").await;
    }
    drop(client);
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while metrics.value("headframe_postgres_connections") > 0 {
        looks.tick().await;
    }
}
