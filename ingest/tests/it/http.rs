//! The door end to end: every encoding, every status, every row accounted for.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use headframe_ingest::inspect_stream;
use headframe_ingest::{
    Decoder, DecoderState, HttpIngestConfig, Nats, ReadFrom, Reader, StreamSettings, http,
    provision_stream,
};
use headframe_schemas::{WritePermission, codec, message, stream};
use serde_json::Value;
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;

use crate::fixture::{Bed, SENSORS, line, publisher, read_through, reading};

/// Headers, body and the status they deserve.
type Case = (
    &'static [(&'static str, &'static str)],
    &'static str,
    StatusCode,
);

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: Value,
}

async fn post(
    router: &Router,
    stream: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::post(format!("/api/v1/ingest/{stream}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router
        .clone()
        .oneshot(request.body(body.into()).unwrap())
        .await
        .unwrap();
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .map(|value| value.to_str().unwrap().to_owned());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer {
        status,
        retry_after,
        body,
    }
}

/// The body as a client would pack it, made by the same library's other half.
async fn pack(encoding: &str, body: String) -> Bytes {
    let echo = Router::new()
        .route("/", axum::routing::get(move || async move { body }))
        .layer(CompressionLayer::new());
    let request = Request::get("/")
        .header(header::ACCEPT_ENCODING, encoding)
        .body(Body::empty())
        .unwrap();
    let response = echo.oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], encoding);
    axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap()
}

/// How often each sensor is among the good rows, and the payloads of the rejected ones.
async fn stored(nats: &Nats) -> (BTreeMap<String, u32>, Vec<(String, String)>, u64) {
    let last = inspect_stream(&nats.js, SENSORS)
        .await
        .unwrap()
        .unwrap()
        .last_seq;
    let mut reader = Reader::open(nats.clone(), SENSORS, ReadFrom::default())
        .await
        .unwrap();
    let chunk = Decoder::new(SENSORS, 0, DecoderState::default())
        .decode(&read_through(&mut reader, last).await.unwrap());
    let (mut good, mut bad) = (BTreeMap::new(), Vec::new());
    let (reasons, payloads) = (
        chunk.batch["reject_reason"].as_string_view(),
        chunk.batch["payload"].as_binary_view(),
    );
    for (row, sensor) in chunk.batch["sensor"].as_string_view().iter().enumerate() {
        if reasons.is_null(row) {
            *good.entry(sensor.unwrap().to_owned()).or_default() += 1;
        } else {
            bad.push((
                String::from_utf8_lossy(payloads.value(row)).into_owned(),
                reasons.value(row).to_owned(),
            ));
        }
    }
    (good, bad, chunk.duplicates)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_wants_all_or_nothing_stores_nothing_of_a_bad_one() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let router = http::router(publisher(&nats), HttpIngestConfig::default());
    let whole = [(message::BAD_ROWS, message::REFUSE_BAD_ROWS)];
    let bad = format!("{}\nbroken\n{}\n", line(1), line(2));
    let refused = post(&router, "sensors", &whole, bad).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.body["rejected"].as_array().unwrap().len(), 1);
    assert_eq!(refused.body["rejected"][0]["line"], 2);
    let taken = post(&router, "sensors", &whole, line(3)).await;
    assert_eq!(
        (taken.status, &taken.body["first_seq"]),
        (StatusCode::OK, &Value::from(1))
    );
    let unknown = [(message::BAD_ROWS, "perhaps")];
    let unknown = post(&router, "sensors", &unknown, line(4)).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_is_taken_and_every_row_accounted_for() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let router = http::router(publisher(&nats), HttpIngestConfig::default());
    let one = post(&router, "sensors", &[], line(0)).await;
    assert_eq!(
        (one.status, &one.body["accepted"], &one.body["first_seq"]),
        (StatusCode::OK, &Value::from(1), &Value::from(1))
    );
    let mixed = post(
        &router,
        "sensors",
        &[("content-type", message::NDJSON)],
        format!("{}\n\nbroken\n{}\r\n{{\"site\":\"x\"}}\n", line(1), line(2)),
    )
    .await;
    assert_eq!(
        (mixed.status, &mixed.body["accepted"]),
        (StatusCode::OK, &Value::from(2))
    );
    let lines: Vec<u64> = mixed.body["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 5], "lines as an editor counts them");
    assert!(
        mixed.body["rejected"][1]["reason"]
            .as_str()
            .unwrap()
            .contains("missing")
    );
    let array = post(
        &router,
        "sensors",
        &[("content-type", "application/json")],
        format!("[{},\n 7, {}]", line(3), line(4)),
    )
    .await;
    assert_eq!(
        (
            array.status,
            &array.body["accepted"],
            &array.body["rejected"][0]["line"]
        ),
        (StatusCode::OK, &Value::from(2), &Value::from(2))
    );
    let rows: Vec<String> = (5..100).map(line).collect();
    let batch = codec::decode_ndjson(
        SENSORS,
        &rows.iter().map(|row| row.as_bytes()).collect::<Vec<_>>(),
    )
    .batch;
    let arrow = post(
        &router,
        "sensors",
        &[("content-type", message::ARROW)],
        codec::encode_arrow(&batch).unwrap(),
    )
    .await;
    assert_eq!(
        (arrow.status, &arrow.body["accepted"]),
        (StatusCode::OK, &Value::from(95))
    );
    for (encoding, from) in [("gzip", 100), ("zstd", 200)] {
        let body = (from..from + 100).map(line).collect::<Vec<_>>().join("\n");
        let answer = post(
            &router,
            "sensors",
            &[("content-encoding", encoding)],
            pack(encoding, body).await,
        )
        .await;
        assert_eq!(
            (answer.status, &answer.body["accepted"]),
            (StatusCode::OK, &Value::from(100)),
            "{encoding}"
        );
    }
    let garbage = (0..40)
        .map(|n| format!("garbage {n}"))
        .collect::<Vec<_>>()
        .join("\n");
    let answer = post(&router, "sensors", &[], garbage).await;
    assert_eq!(
        (
            &answer.body["accepted"],
            answer.body["rejected"].as_array().unwrap().len()
        ),
        (&Value::from(0), 40)
    );
    let (good, bad, _) = stored(&nats).await;
    assert_eq!(good.len(), 300);
    assert!(good.values().all(|&count| count == 1));
    let payloads: Vec<&str> = bad.iter().map(|(payload, _)| payload.as_str()).collect();
    assert_eq!(payloads.len(), 43);
    assert!(
        ["broken", "{\"site\":\"x\"}", "7", "garbage 0", "garbage 39"]
            .iter()
            .all(|payload| payloads.contains(payload)),
        "{payloads:?}"
    );
    let said = mixed.body["rejected"][0]["reason"].as_str().unwrap();
    assert!(
        bad.iter()
            .any(|(payload, reason)| payload == "broken" && reason == said),
        "the dead letter says what the client was told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_request_with_identity_is_stored_once() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let body = format!("{}\nbroken\n{}", line(1), line(2));
    let headers = [
        ("headframe-producer", "rig-7.boot-3"),
        ("headframe-seq", "40"),
    ];
    for _ in 0..2 {
        // Another process, so that JetStream's own message ids do not help.
        let router = http::router(publisher(&nats), HttpIngestConfig::default());
        let answer = post(&router, "sensors", &headers, body.clone()).await;
        assert_eq!(
            (answer.status, &answer.body["accepted"]),
            (StatusCode::OK, &Value::from(2))
        );
    }
    let (good, bad, duplicates) = stored(&nats).await;
    assert_eq!(
        (good.len(), good["s1"], good["s2"], bad.len(), duplicates),
        (2, 1, 1, 1, 3)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_status_and_says_what_to_do() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let config = HttpIngestConfig {
        max_body_bytes: 20_000,
        ..HttpIngestConfig::default()
    };
    let router = http::router(publisher(&nats), config);
    let good = line(1);
    assert_eq!(
        post(&router, "sensors", &[], good.clone()).await.status,
        StatusCode::OK
    );
    let unknown = post(&router, "nonsense", &[], good.clone()).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(
        unknown.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("hashrate"),
        "it names what exists"
    );
    let large = post(&router, "sensors", &[], vec![b' '; 20_001]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        large.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("20000")
    );
    let bomb = pack("gzip", " ".repeat(10_000_000)).await;
    assert!(bomb.len() < 20_000);
    assert_eq!(
        post(&router, "sensors", &[("content-encoding", "gzip")], bomb)
            .await
            .status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let cases: [Case; 8] = [
        (
            &[("content-type", "image/png")],
            "x",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            &[("content-type", message::REFUSED)],
            "x",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            &[("content-encoding", "br")],
            "x",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            &[("content-encoding", "gzip")],
            "not gzip",
            StatusCode::BAD_REQUEST,
        ),
        (
            &[("content-type", message::ARROW)],
            "not arrow",
            StatusCode::BAD_REQUEST,
        ),
        (&[], "[{]", StatusCode::BAD_REQUEST),
        (
            &[("headframe-producer", "p")],
            "{}",
            StatusCode::BAD_REQUEST,
        ),
        (&[], " \n ", StatusCode::BAD_REQUEST),
    ];
    for (headers, body, status) in cases {
        let answer = post(&router, "sensors", headers, body).await;
        assert_eq!(
            answer.status, status,
            "{headers:?} {body:?}: {}",
            answer.body
        );
    }
    let (stored, bad, _) = stored(&nats).await;
    assert_eq!(
        (stored.len(), bad.len()),
        (1, 0),
        "a refused request stores nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pressure_is_told_with_a_time_to_come_back() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    provision_stream(
        &nats.js,
        SENSORS,
        &StreamSettings {
            max_bytes: Some(30_000),
            ..StreamSettings::default()
        },
    )
    .await
    .unwrap();
    let router = http::router(
        publisher(&nats),
        HttpIngestConfig {
            max_requests: 1,
            ..HttpIngestConfig::default()
        },
    );
    // The first request is held open by a body that does not end; it counts as being worked on once
    // it is polled.
    let (hold, stream) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let endless = Body::from_stream(futures::stream::unfold(stream, |mut stream| async {
        stream.recv().await.map(|chunk| (chunk, stream))
    }));
    let first = tokio::spawn({
        let router = router.clone();
        async move { post(&router, "sensors", &[], endless).await }
    });
    hold.send(Ok(line(1).into())).await.unwrap();
    hold.send(Ok("\n".into())).await.unwrap();
    let busy = post(&router, "sensors", &[], line(2)).await;
    assert_eq!(
        (busy.status, busy.retry_after.as_deref()),
        (StatusCode::TOO_MANY_REQUESTS, Some("1"))
    );
    drop(hold);
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    let full = loop {
        let answer = post(
            &router,
            "sensors",
            &[],
            (0..20).map(line).collect::<Vec<_>>().join("\n"),
        )
        .await;
        if answer.status != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        full.retry_after.is_some()
            && full.body["error"]["message"]
                .as_str()
                .unwrap()
                .contains("full"),
        "{}",
        full.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_take_the_numbers_of_another_producer() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let pool = publisher(&nats);
    let router = http::router(publisher(&nats), HttpIngestConfig::default());
    let headers = [
        ("headframe-producer", pool.producer()),
        ("headframe-seq", "1"),
    ];
    let by_header = post(&router, "sensors", &headers, line(1)).await;
    let named = |n| {
        let mut row: Value = serde_json::from_str(&line(n)).unwrap();
        row["producer"] = pool.producer().into();
        row["producer_seq"] = n.into();
        row.to_string()
    };
    let by_row = post(&router, "sensors", &[], named(2)).await;
    assert_eq!(
        (by_header.status, by_row.status),
        (StatusCode::OK, StatusCode::OK)
    );
    // The pool's own rows 1 and 2.
    for n in [3, 4] {
        pool.record(&reading(n)).await.unwrap();
    }
    let (good, bad, duplicates) = stored(&nats).await;
    let sensors: Vec<&str> = good.keys().map(String::as_str).collect();
    assert_eq!(
        (sensors, bad.len(), duplicates),
        (vec!["s1", "s2", "s3", "s4"], 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_an_internal_stream_is_taken() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let router = http::router(publisher(&nats), HttpIngestConfig::default());
    for stream in stream::ALL {
        let answer = post(&router, stream.name(), &[], "").await;
        let expected = match stream.write_permission() {
            WritePermission::Internal => StatusCode::FORBIDDEN,
            // The body is read, and has no rows.
            _ => StatusCode::BAD_REQUEST,
        };
        assert_eq!(answer.status, expected, "{}", stream.name());
    }
}
