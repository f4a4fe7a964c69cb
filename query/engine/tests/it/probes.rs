//! What the probes and the metrics page answer.

use std::sync::Arc;

use axum::http::StatusCode;
use headframe_query_front::{Probe, Services};
use serde_json::json;

use crate::access::{bind, services};
use crate::server::{config, get, send};

struct Fixed(&'static str, Result<(), String>);

#[async_trait::async_trait]
impl Probe for Fixed {
    fn name(&self) -> &str {
        self.0
    }
    async fn check(&self) -> Result<(), String> {
        self.1.clone()
    }
    async fn note(&self) -> Option<String> {
        (self.0 == "payments").then(|| "the wallet is short".to_owned())
    }
}

#[tokio::test]
async fn probes_say_what_is_missing() {
    let probe = |name, answer: Result<(), &str>| -> Arc<dyn Probe> {
        Arc::new(Fixed(name, answer.map_err(str::to_owned)))
    };
    let late = Services {
        health: vec![probe("nats", Ok(()))],
        ready: vec![probe(
            "pipeline shares",
            Err("it has not read its offset yet"),
        )],
        ..services()
    };
    let router = bind(config(), late).await;
    let health = send(&router, get("/health")).await;
    assert_eq!(
        (health.status, health.json()),
        (
            StatusCode::OK,
            json!({"status": "ok", "checks": {"nats": "ok"}})
        )
    );
    let ready = send(&router, get("/ready")).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        ready.json()["missing"],
        json!(["pipeline shares: it has not read its offset yet"])
    );

    // What is only worth knowing is said, and makes nothing unready.
    let short = bind(
        config(),
        Services {
            ready: vec![probe("payments", Ok(()))],
            ..services()
        },
    )
    .await;
    let ready = send(&short, get("/ready")).await;
    assert_eq!(
        (ready.status, &ready.json()["notes"]),
        (StatusCode::OK, &json!(["payments: the wallet is short"]))
    );

    let sick = Services {
        health: vec![probe("storage", Err("disk full"))],
        ..services()
    };
    let router = bind(config(), sick).await;
    let health = send(&router, get("/health")).await;
    assert_eq!(
        (health.status, health.json()["checks"]["storage"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("disk full"))
    );
    assert_eq!(send(&router, get("/live")).await.text(), "ok\n");
}

#[tokio::test]
async fn metrics_are_shown() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        metrics::counter!("headframe_test_total").increment(3)
    });
    let router = bind(
        config(),
        Services {
            metrics: Some(handle),
            ..services()
        },
    )
    .await;
    let page = send(&router, get("/metrics")).await;
    assert!(
        page.text().contains("headframe_test_total 3"),
        "{}",
        page.text()
    );
    let none = bind(config(), services()).await;
    assert_eq!(
        send(&none, get("/metrics")).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn without_streams_only_health_is_told() {
    let router = bind(
        config(),
        Services {
            health: vec![],
            ..Services::default()
        },
    )
    .await;
    for path in ["/live", "/health", "/ready"] {
        assert_eq!(
            send(&router, get(path)).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    let answer = send(&router, get("/api/v1/sql?q=SELECT%201")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.text().contains("role query"), "{}", answer.text());
    let whole = bind(config(), services()).await;
    assert_eq!(
        send(&whole, get("/api/v1/sql?q=SELECT%201")).await.status,
        StatusCode::OK
    );
}
