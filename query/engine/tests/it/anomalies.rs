//! Anomalies as a view and over REST.

use std::sync::Arc;

use headframe_query_engine::Source;
use headframe_schemas::stream::anomalies::Anomalies;
use headframe_schemas::stream::energy::Energies;
use serde_json::{Value, json};

use crate::scripted::{DAY, Scripted, raw_batch, raw_row, split};
use crate::server::{config, get, router, rows, send};

/// One that has ended at the same site as one that has not, and one elsewhere.
fn found() -> Vec<Value> {
    let row = |seq: i64, at_s: i64, signal: &str, transition: &str, more: Value| {
        let mut row = json!({"event_time": DAY + at_s * 1_000_000, "site": "north",
            "source": "energy", "signal": signal, "detector": "step", "transition": transition,
            "since": DAY, "score": 1.5, "input_seq": seq});
        let fields = row.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        raw_row(seq, 0, DAY, row)
    };
    vec![
        row(
            1,
            10,
            "m1/power_w",
            "opened",
            json!({"value": 90.0, "expected": 100.0}),
        ),
        row(2, 20, "m2/power_w", "opened", json!({"value": 5.0})),
        row(
            3,
            30,
            "m1/power_w",
            "closed",
            json!({"reason": "returned", "value": 100.0}),
        ),
        row(
            4,
            40,
            "t1/temperature_c",
            "opened",
            json!({"site": "south", "source": "sensors"}),
        ),
    ]
}

#[tokio::test]
async fn an_anomaly_is_one_row_with_its_end_wherever_its_rows_lie() {
    for stored in 0..=4 {
        let batch = raw_batch(&Anomalies, &found());
        let source = Scripted::new(&Anomalies, split(&batch, stored, 4));
        let router = router(config(), vec![source]).await;
        let periods = rows(
            &router,
            "SELECT signal, value, expected, reason, ended_at IS NULL AS open FROM \
             anomaly_periods ORDER BY found_at",
        )
        .await;
        assert_eq!(
            periods,
            [
                json!({"signal": "m1/power_w", "value": 90.0, "expected": 100.0,
                    "reason": "returned", "open": false}),
                json!({"signal": "m2/power_w", "value": 5.0, "expected": null, "reason": null,
                    "open": true}),
                json!({"signal": "t1/temperature_c", "value": null, "expected": null,
                    "reason": null, "open": true}),
            ]
        );
        let signals = async |query: &str| -> Vec<String> {
            let answer = send(&router, get(&format!("/api/v1/anomalies{query}"))).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            let rows = answer.json()["rows"].as_array().unwrap().clone();
            rows.iter()
                .map(|row| row["signal"].as_str().unwrap()[..2].to_owned())
                .collect()
        };
        assert_eq!(signals("").await, ["t1", "m2", "m1"]);
        assert_eq!(signals("?limit=1").await, ["t1"]);
        assert_eq!(signals("?open=true&site=north").await, ["m2"]);
        assert_eq!(signals("?open=false").await, ["m1"]);
        assert_eq!(signals("?source=sensors").await, ["t1"]);
        let span = "?from=2026-01-05T00:00:20Z&to=2026-01-05T00:00:40Z";
        assert_eq!(signals(span).await, ["m2"]);
        for (query, word) in [
            ("?source=shares", "source is"),
            ("?from=now", "from is no time"),
            ("?limit=0", "limit is 0"),
            ("?open=maybe", "query string"),
        ] {
            let refused = send(&router, get(&format!("/api/v1/anomalies{query}"))).await;
            assert_eq!(refused.status, 400, "{query}");
            assert!(refused.text().contains(word), "{query}: {}", refused.text());
        }
    }
}

#[tokio::test]
async fn an_anomaly_is_answered_with_the_readings_around_it() {
    let anomalies = split(&raw_batch(&Anomalies, &found()), 2, 4);
    let power = json!({"event_time": DAY + 10_000_000, "site": "north", "meter": "m1",
        "power_w": 90.0});
    let energy = split(&raw_batch(&Energies, &[raw_row(1, 0, DAY, power)]), 0, 1);
    let sources: Vec<Arc<dyn Source>> = vec![
        Scripted::new(&Anomalies, anomalies),
        Scripted::new(&Energies, energy),
    ];
    let router = router(config(), sources).await;
    let of = "site=north&source=energy&signal=m1/power_w&detector=step&since=2026-01-05T00:00:00Z";
    let answer = send(&router, get(&format!("/api/v1/anomalies/readings?{of}"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["anomaly"]["reason"], "returned");
    assert_eq!(
        (&answer["unit"], &answer["points"][0]["value"]),
        (&json!("W"), &json!(90.0))
    );
}

#[tokio::test]
async fn a_page_of_anomalies_follows_the_one_before_also_where_they_were_found_at_once() {
    let row = |seq: i64, at_s: i64, site: &str, signal: &str, detector: &str| {
        let row = json!({"event_time": DAY + at_s * 1_000_000 + 1, "site": site,
            "source": "energy", "signal": signal, "detector": detector, "transition": "opened",
            "since": DAY, "score": 1.5, "input_seq": seq});
        raw_row(seq, 0, DAY, row)
    };
    let found: Vec<Value> = vec![
        row(1, 10, "north", "m2/power_w", "step"),
        row(2, 20, "south", "m1/power_w", "step"),
        row(3, 20, "north", "m1/power_w", "step"),
        row(4, 20, "north", "m1/power_w", "frozen"),
        row(5, 20, "north", "m'\"%/power_w", "step"),
        row(6, 30, "north", "m1/power_w", "step"),
    ];
    let batch = raw_batch(&Anomalies, &found);
    let router = router(
        config(),
        vec![Scripted::new(&Anomalies, split(&batch, 3, 6))],
    )
    .await;
    let page = async |uri: &str| {
        let answer = send(&router, get(uri)).await;
        assert_eq!(answer.status, 200, "{uri}: {}", answer.text());
        let link = answer
            .headers
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        (answer.json(), link)
    };
    let (whole, link) = page("/api/v1/anomalies").await;
    assert_eq!(
        (
            whole["rows"].as_array().unwrap().len(),
            &whole["next"],
            link
        ),
        (6, &json!(null), None)
    );
    for limit in [1, 2, 4] {
        let first = format!("/api/v1/anomalies?limit={limit}");
        let (mut next, mut rows) = (Some(first), Vec::new());
        while let Some(uri) = next {
            let (body, link) = page(&uri).await;
            rows.extend(body["rows"].as_array().unwrap().clone());
            next =
                link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
            assert_eq!(next.is_some(), body["next"].is_string());
            assert!(rows.len() <= 6, "{rows:?}");
        }
        assert_eq!(Value::Array(rows), whole["rows"], "{limit}");
    }
    let refused = send(&router, get("/api/v1/anomalies?after=7b7d")).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
}
