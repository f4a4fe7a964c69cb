//! Bodies that are packed, broken or hostile at the door: each row is stored or refused by name,
//! and the process lives on.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use headframe_ingest::{HttpIngestConfig, http};
use serde_json::Value;
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;

use crate::fixture::{Bed, line, publisher};

async fn post(router: &Router, encoding: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::post("/api/v1/ingest/sensors")
        .header(header::CONTENT_ENCODING, encoding)
        .body(body.into())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

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

#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_a_packed_body_is_read() {
    let bed = Bed::start().await;
    let router = http::router(publisher(&bed.sensors().await), HttpIngestConfig::default());
    for (encoding, from) in [("gzip", 0), ("zstd", 100)] {
        let rows = |from: i64| (from..from + 10).map(line).collect::<Vec<_>>().join("\n") + "\n";
        let (first, second) = (
            pack(encoding, rows(from)).await,
            pack(encoding, rows(from + 10)).await,
        );
        let both = [first.as_ref(), second.as_ref()].concat();
        let (status, body) = post(&router, encoding, both.clone()).await;
        assert_eq!(
            (status, &body["accepted"]),
            (StatusCode::OK, &Value::from(20)),
            "{encoding}: {body}"
        );
        let broken = [first.as_ref(), b"not packed"].concat();
        assert_eq!(
            post(&router, encoding, broken).await.0,
            StatusCode::BAD_REQUEST,
            "{encoding} with a tail"
        );
        let cut = both[..both.len() - 6].to_vec();
        assert_eq!(
            post(&router, encoding, cut).await.0,
            StatusCode::BAD_REQUEST,
            "{encoding} cut short"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_packing_is_refused_by_name() {
    let bed = Bed::start().await;
    let router = http::router(publisher(&bed.sensors().await), HttpIngestConfig::default());
    for encoding in ["br", "gzip, gzip", "deflate"] {
        let (status, body) = post(&router, encoding, line(0)).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
        let said = body["error"]["message"].as_str().unwrap();
        assert!(said.contains(encoding) && said.contains("zstd"), "{said}");
    }
    assert_eq!(post(&router, "identity", line(0)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_without_end_is_a_bad_row() {
    let bed = Bed::start().await;
    let router = http::router(publisher(&bed.sensors().await), HttpIngestConfig::default());
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for body in [deep.clone(), format!("{}\n{{\"value\":{deep}}}", line(0))] {
        let (status, body) = post(&router, "identity", body).await;
        let said = body["rejected"][0]["reason"].as_str().unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(said.contains("nests deeper than 64"), "{said}");
    }
}
