//! The extended protocol: prepared statements, parameters, portals and cursors.

use headframe_query_front::sql::{Parameter, ParameterKind, ParameterValue};
use headframe_query_front::{PostgresConfig, QueryConfig};

use super::client::{Client, Wire, bind, execute, kinds, parse, rows, sqlstate, tag, text, texts};
use crate::server::config;

const INT4: u32 = 23;
const NUMERIC: u32 = 1700;

async fn run(client: &mut Client, messages: &[(u8, Vec<u8>)]) -> Vec<super::client::Reply> {
    for (kind, body) in messages {
        client.send(*kind, body).await;
    }
    client.send(b'S', &[]).await;
    client.until_ready().await
}

#[tokio::test]
async fn parameters_arrive_with_their_types() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    let values: [(i16, Option<&[u8]>); 4] = [
        (1, Some(&[0, 0, 0, 5])),
        (0, Some(b"12.50")),
        (0, Some(b"later")),
        (0, None),
    ];
    let replies = run(
        &mut client,
        &[
            (b'P', parse("", "echo $1 $2 $3 $4", &[INT4, NUMERIC, 0])),
            (b'B', bind("", "", &values, &[1])),
            (b'D', [&b"P"[..], &text("")].concat()),
            (b'E', execute("", 0)),
        ],
    )
    .await;
    assert_eq!(kinds(&replies), "12TDCZ");
    assert_eq!(
        rows(&replies),
        [[Some(vec![0, 0, 0, 0, 0, 0, 0, 7])]],
        "in binary"
    );
    let request = wire.seen.requests.lock().unwrap()[0]
        .postgres
        .clone()
        .unwrap();
    let parameter = |kind, value| Parameter { kind, value };
    assert_eq!(
        request.parameters,
        [
            parameter(Some(ParameterKind::Int), ParameterValue::Int(5)),
            parameter(
                Some(ParameterKind::Numeric),
                ParameterValue::Text("12.50".to_owned())
            ),
            parameter(None, ParameterValue::Text("later".to_owned())),
            parameter(None, ParameterValue::Null),
        ]
    );
}

#[tokio::test]
async fn a_statement_is_described_before_it_runs() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    let described = run(
        &mut client,
        &[
            (b'P', parse("s", "echo $1 $2", &[INT4])),
            (b'D', [&b"S"[..], &text("s")].concat()),
        ],
    )
    .await;
    assert_eq!(kinds(&described), "1tTZ");
    // The client's own type, and the one that the engine tells.
    let oids = [
        &2_u16.to_be_bytes()[..],
        &INT4.to_be_bytes(),
        &NUMERIC.to_be_bytes(),
    ]
    .concat();
    assert_eq!(described[1].1, oids);
    let one: (i16, Option<&[u8]>) = (0, Some(b"1"));
    let numeric: (i16, Option<&[u8]>) = (1, Some(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 7]));
    let bound = run(
        &mut client,
        &[
            (b'B', bind("", "s", &[one, numeric], &[])),
            (b'E', execute("", 0)),
        ],
    )
    .await;
    assert_eq!(texts(&bound), [["7"]]);
    let request = wire.seen.requests.lock().unwrap()[0]
        .postgres
        .clone()
        .unwrap();
    assert_eq!(
        request.parameters[1].value,
        ParameterValue::Text("7".to_owned())
    );
}

#[tokio::test]
async fn a_portal_gives_its_rows_in_portions_however_many_are_asked_for() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    let replies = run(
        &mut client,
        &[
            (b'P', parse("", "rows 2500", &[])),
            (b'B', bind("", "", &[], &[])),
            (b'E', execute("", 1_200)),
            (b'E', execute("", 1_200)),
            (b'E', execute("", 1_000_000_000)),
            (b'E', execute("", 1)),
        ],
    )
    .await;
    let portions: Vec<usize> = kinds(&replies)
        .split(['s', 'C'])
        .map(|part| part.matches('D').count())
        .collect();
    assert_eq!(portions, [1_200, 1_200, 100, 0, 0]);
    let expected: Vec<Vec<String>> = (0..2_500).map(|n| vec![n.to_string()]).collect();
    assert_eq!(texts(&replies), expected);
    for max_rows in [-1, i32::MIN, i32::MAX] {
        let replies = run(
            &mut client,
            &[
                (b'P', parse("", "rows 3", &[])),
                (b'B', bind("", "", &[], &[])),
                (b'E', execute("", max_rows)),
            ],
        )
        .await;
        assert_eq!(kinds(&replies), "12DDDCZ", "{max_rows}");
    }
    wire.until(0).await;
}

#[tokio::test]
async fn after_an_error_messages_are_passed_over_until_a_sync() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    let replies = run(
        &mut client,
        &[
            (b'P', parse("", "missing", &[])),
            (b'B', bind("", "", &[], &[])),
            (b'E', execute("", 0)),
            (b'E', execute("", 0)),
            (b'P', parse("", "rows 1", &[])),
        ],
    )
    .await;
    assert_eq!(kinds(&replies), "12EZ");
    for (messages, state) in [
        (vec![(b'B', bind("", "nothing", &[], &[]))], "26000"),
        (vec![(b'E', execute("nothing", 0))], "34000"),
        (vec![(b'P', parse("", "rows 1; rows 2", &[]))], "42601"),
        (
            vec![
                (b'P', parse("", "echo $1", &[])),
                (b'B', bind("", "", &[], &[])),
            ],
            "08P01",
        ),
        (
            vec![
                (b'P', parse("", "echo $1", &[INT4])),
                (b'B', bind("", "", &[(1, Some(&[1, 2, 3]))], &[])),
            ],
            "22P03",
        ),
        (
            vec![
                (b'P', parse("", "echo $1", &[INT4])),
                (b'B', bind("", "", &[(0, Some(b"five"))], &[])),
            ],
            "22P02",
        ),
    ] {
        assert_eq!(
            sqlstate(&run(&mut client, &messages).await).as_deref(),
            Some(state)
        );
    }
    assert_eq!(tag(&client.query("rows 1").await), "SELECT 1");
}

#[tokio::test]
async fn a_cursor_gives_its_rows_in_portions() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    client
        .query("BEGIN; DECLARE c NO SCROLL CURSOR FOR rows 2500")
        .await;
    let replies = client.query("FETCH 2 FROM c").await;
    assert_eq!(
        (kinds(&replies).as_str(), tag(&replies).as_str()),
        ("TDDCZ", "FETCH 2")
    );
    assert_eq!(
        tag(&client.query("MOVE FORWARD 1000 IN c").await),
        "MOVE 1000"
    );
    let replies = client.query("FETCH ALL c").await;
    assert_eq!(texts(&replies)[0], ["1002"]);
    assert_eq!(tag(&replies), "FETCH 1498");
    assert_eq!(tag(&client.query("FETCH c").await), "FETCH 0");
    client.query("COMMIT").await;
    assert_eq!(
        sqlstate(&client.query("FETCH c").await).as_deref(),
        Some("34000")
    );
    wire.until(0).await;
}

#[tokio::test]
async fn what_a_session_may_hold_is_bounded() {
    let wire = Wire::start().await;
    let mut client = wire.connect().await;
    for number in 0..1_024 {
        client
            .send(b'P', &parse(&format!("s{number}"), "rows 1", &[]))
            .await;
    }
    let replies = run(&mut client, &[(b'P', parse("more", "rows 1", &[]))]).await;
    assert_eq!(sqlstate(&replies).as_deref(), Some("53400"));
    let closed = run(&mut client, &[(b'C', [&b"S"[..], &text("s7")].concat())]).await;
    assert_eq!(kinds(&closed), "3Z");
    client.query("BEGIN").await;
    for number in 0..64 {
        client
            .send(b'B', &bind(&format!("p{number}"), "s1", &[], &[]))
            .await;
    }
    let replies = run(&mut client, &[(b'B', bind("more", "s1", &[], &[]))]).await;
    assert_eq!(sqlstate(&replies).as_deref(), Some("53400"));
}

#[tokio::test]
async fn a_portal_whose_rows_nobody_takes_gives_its_slot_back() {
    let query = QueryConfig {
        timeout_s: 1,
        max_concurrent: 1,
        ..config()
    };
    let wire = Wire::start_with(query, PostgresConfig::default()).await;
    let mut client = wire.connect().await;
    client
        .query("BEGIN; DECLARE c CURSOR FOR rows 2500; FETCH 1 FROM c")
        .await;
    wire.until(0).await;
    assert_eq!(
        sqlstate(&client.query("FETCH 1 FROM c").await).as_deref(),
        Some("57014")
    );
}
