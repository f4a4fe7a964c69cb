//! The PostgreSQL wire before an engine whose answers are known: sessions, both protocols, limits,
//! and clients that do not follow the protocol.

mod accounts;
mod client;
pub mod engine;
mod extended;
mod hostile;
mod login;
mod refusals;
mod scram;
mod tls;

use std::time::Duration;

use headframe_query_front::request_log::RequestLog;
use headframe_query_front::{QueryConfig, Services};

use self::client::{Wire, bind, execute, kinds, parse, rows, sqlstate, tag, text, texts};
use crate::server::config;

#[tokio::test]
async fn values_of_every_type_are_written_as_text() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    let replies = client.query("types").await;
    assert_eq!(kinds(&replies), "TDDCZ");
    let expected = [
        "t",
        "99999999999999999999999999999999999999",
        "0.25",
        "矿\t\"a\",b",
        "\\x00ff",
        "2026-01-05 00:00:00.12+00",
        "{1,NULL}",
        "-",
    ];
    assert_eq!(texts(&replies), [expected.to_vec(), vec!["-"; 8]]);
    assert_eq!(tag(&replies), "SELECT 2");
}

#[tokio::test]
async fn a_text_with_several_statements_is_answered_up_to_its_first_error() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    let replies = client.query("rows 1; BEGIN; missing; rows 1").await;
    assert_eq!(kinds(&replies), "TDCCEZ");
    assert_eq!(sqlstate(&replies).as_deref(), Some("42P01"));
    assert_eq!(
        replies.last().unwrap().1,
        b"E",
        "the transaction has failed"
    );
    assert_eq!(
        sqlstate(&client.query("rows 1").await).as_deref(),
        Some("25P02")
    );
    let replies = client.query("COMMIT").await;
    assert_eq!(
        (tag(&replies).as_str(), replies[1].1.as_slice()),
        ("ROLLBACK", &b"I"[..])
    );
    assert_eq!(kinds(&client.query("  -- nothing\n;").await), "IZ");
    let late = client.query("late error").await;
    assert_eq!(sqlstate(&late).as_deref(), Some("53200"));
    assert_eq!(rows(&late).len(), 10);
}

#[tokio::test]
async fn sessions_keep_their_settings_to_themselves() {
    let wire = Wire::start().await;
    let (mut one, mut other) = (wire.connect().await, wire.connect().await);
    let replies = one
        .query("SET application_name = 'x'; SHOW application_name")
        .await;
    assert_eq!(kinds(&replies), "SCTDCZ");
    assert_eq!(texts(&replies), [["x"]]);
    assert_eq!(texts(&other.query("SHOW application_name").await), [[""]]);
    assert_eq!(texts(&other.query("SHOW server_version").await), [["16.6"]]);
    assert_eq!(
        sqlstate(&one.query("SHOW nonsense").await).as_deref(),
        Some("42704")
    );
    let refused = one.query("SET datafusion.execution.batch_size = 1").await;
    assert_eq!(sqlstate(&refused).as_deref(), Some("42501"));
    assert_eq!(
        sqlstate(&one.query("COPY t TO '/tmp/x'").await).as_deref(),
        Some("42501")
    );
    assert_eq!(
        wire.seen.requests.lock().unwrap().len(),
        0,
        "the engine was asked nothing"
    );
    one.query("SET statement_timeout = '2s'; rows 1").await;
    let request = wire.seen.requests.lock().unwrap()[0].clone();
    assert_eq!(request.timeout, Some(Duration::from_secs(2)));
    assert_eq!(request.postgres.unwrap().user, "somebody");
}

#[tokio::test]
async fn settings_of_a_transaction_end_with_it() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    client.query("SET statement_timeout = '5s'").await;
    for (begin, end) in [
        ("BEGIN; SET LOCAL statement_timeout = '2s'", "COMMIT"),
        ("BEGIN; SET statement_timeout = '2s'", "ROLLBACK"),
        ("BEGIN; SET statement_timeout = '2s'; missing", "COMMIT"),
    ] {
        client.query(begin).await;
        client.query("rows 1").await;
        client.query(end).await;
        client.query("rows 1").await;
        let requests = wire.seen.requests.lock().unwrap();
        let after = requests.last().unwrap().timeout;
        assert_eq!(after, Some(Duration::from_secs(5)), "{begin}");
        let inside = requests[requests.len() - 2].timeout;
        assert_eq!(inside, Some(Duration::from_secs(2)), "{begin}");
    }
    let begun = "BEGIN; SET application_name = 'a'; SET LOCAL application_name = 'b'";
    assert_eq!(kinds(&client.query(begun).await), "CSCSCZ");
    // A client is told of the name that holds again.
    assert_eq!(kinds(&client.query("COMMIT").await), "SCZ");
    assert_eq!(texts(&client.query("SHOW application_name").await), [["a"]]);
}

#[tokio::test]
async fn a_statement_is_cancelled_by_its_key_and_by_nothing_else() {
    let wire = Wire::start().await;
    for sql in ["silent", "no planning", "endless"] {
        let mut client = wire.connect().await;
        let body = [sql.as_bytes(), b"\0"].concat();
        client.send(b'Q', &body).await;
        wire.until(1).await;
        let mut wrong = client.backend.clone();
        wrong[7] ^= 1;
        for key in [wrong, client.backend.clone()] {
            let mut canceller = wire.raw().await;
            let request = [&80_877_102_u32.to_be_bytes()[..], &key].concat();
            canceller.packet(&request).await;
            assert!(canceller.reply().await.is_none(), "nothing is said");
        }
        let replies = client.until_ready().await;
        assert_eq!(sqlstate(&replies).as_deref(), Some("57014"), "{sql}");
        wire.until(0).await;
        assert_eq!(
            tag(&client.query("rows 3").await),
            "SELECT 3",
            "the session goes on"
        );
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_statement() {
    let wire = Wire::start().await;
    for sql in ["silent", "no planning", "endless"] {
        let mut client = wire.connect().await;
        client.send(b'Q', &[sql.as_bytes(), b"\0"].concat()).await;
        wire.until(1).await;
        drop(client);
        wire.until(0).await;
    }
}

#[tokio::test]
async fn statements_over_the_limits_are_refused_with_a_state_of_their_own() {
    let query = QueryConfig {
        max_concurrent: 1,
        timeout_s: 1,
        ..config()
    };
    let wire = Wire::start_with(query, Default::default()).await;
    let (mut one, mut other) = (wire.connect().await, wire.connect().await);
    one.send(b'Q', b"silent\0").await;
    wire.until(1).await;
    assert_eq!(
        sqlstate(&other.query("rows 1").await).as_deref(),
        Some("53300")
    );
    assert_eq!(
        sqlstate(&one.until_ready().await).as_deref(),
        Some("57014"),
        "out of time"
    );
    assert_eq!(tag(&other.query("rows 1").await), "SELECT 1");
}

#[tokio::test]
async fn a_copy_is_written_in_each_format() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    let data = |replies: &[client::Reply]| -> String {
        let parts = replies.iter().filter(|(kind, _)| *kind == b'd');
        parts
            .map(|(_, body)| String::from_utf8_lossy(body).into_owned())
            .collect()
    };
    let replies = client.query("COPY (types) TO STDOUT").await;
    assert_eq!(kinds(&replies), "HddcCZ");
    assert_eq!(tag(&replies), "COPY 2");
    let text = data(&replies);
    let first = text.lines().next().unwrap();
    assert!(first.contains("\t矿\\t\"a\",b\t\\\\x00ff\t"), "{first}");
    assert!(first.ends_with("\t\\N"), "{first}");
    let replies = client
        .query("COPY (types) TO STDOUT WITH (FORMAT csv, HEADER)")
        .await;
    let csv = data(&replies);
    assert!(
        csv.starts_with("yes,amount,ratio,name,raw,time,list,nothing\n"),
        "{csv}"
    );
    assert!(csv.contains(",\"矿\t\"\"a\"\",b\",\\x00ff,"), "{csv}");
    assert!(csv.ends_with(",,,,,,,\n"), "{csv}");
    let replies = client
        .query("COPY (rows 2) TO STDOUT (FORMAT binary)")
        .await;
    let parts = replies.iter().filter(|(kind, _)| *kind == b'd');
    let bytes: Vec<u8> = parts.flat_map(|(_, body)| body.clone()).collect();
    let row = |n: u8| [&[0, 1, 0, 0, 0, 8][..], &[0, 0, 0, 0, 0, 0, 0, n]].concat();
    let head = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    assert_eq!(bytes, [head, row(0), row(1), vec![0xff, 0xff]].concat());
}

#[tokio::test]
async fn each_statement_is_a_row_of_requests_without_its_text() {
    let log = RequestLog::default();
    let services = Services {
        request_log: Some(log.clone()),
        ..Services::default()
    };
    let wire = Wire::start_by(config(), services).await;
    let mut client = wire.connect().await;
    client
        .query("BEGIN; rows 2; SET application_name = 'a-secret'; missing secret")
        .await;
    client.query("ROLLBACK").await;
    client.query("COPY (rows 2) TO STDOUT").await;
    // A prepared statement is one row each time it runs, and one where it does not come so far.
    for (sql, steps) in [("rows 3", "PBE"), ("missing", "PD"), ("SET", "P")] {
        for step in steps.chars() {
            let body = match step {
                'P' => parse("", sql, &[]),
                'B' => bind("", "", &[], &[]),
                'D' => [&b"S"[..], &text("")].concat(),
                _ => execute("", 0),
            };
            client.send(step as u8, &body).await;
        }
        client.send(b'S', &[]).await;
        client.until_ready().await;
    }
    let rows = log.take();
    let found: Vec<(&str, u16)> = rows.iter().map(|row| (&*row.route, row.status)).collect();
    let expected = [
        ("BEGIN", 200),
        ("QUERY", 200),
        ("SET", 200),
        ("QUERY", 400),
        ("ROLLBACK", 200),
        ("COPY", 200),
        ("QUERY", 200),
        ("DESCRIBE", 400),
        ("PARSE", 400),
    ];
    assert_eq!(found, expected);
    for row in &rows {
        assert_eq!((&*row.wire, &*row.principal), ("postgres", "local"));
        assert_eq!(row.peer.as_deref(), Some("127.0.0.1"));
        assert_eq!(row.bytes > 0, row.status == 200, "{row:?}");
    }
    assert!(!format!("{rows:?}").contains("secret"), "{rows:?}");
}
