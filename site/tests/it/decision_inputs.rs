//! What the rows of decisions name as inputs, against the journal.

use std::collections::BTreeMap;

use headframe_ingest::Nats;
use serde_json::Value;

use crate::service::{Running, rows};

/// Every input that a decision names has a time, a health, and the place of its reading in the
/// journal, where that reading is.
pub async fn check_inputs(running: &Running, nats: &Nats) {
    let (mut entries, mut after) = (BTreeMap::new(), 0);
    loop {
        let path = format!("/api/v1/site/journal?limit=1000&after={after}");
        let (_, page) = running.send(reqwest::Method::GET, &path, Value::Null).await;
        let page = page["entries"].as_array().unwrap().clone();
        let Some(last) = page.last() else { break };
        after = last["seq"].as_u64().unwrap();
        entries.extend(
            page.into_iter()
                .map(|one| (one["seq"].as_u64().unwrap(), one)),
        );
    }
    let mut found = BTreeMap::new();
    for (_, _, row) in rows(nats, "curtailment").await {
        let inputs: Value = serde_json::from_str(row["inputs"].as_str().unwrap()).unwrap();
        for used in inputs.as_array().unwrap() {
            let source = used["source"].as_str().unwrap().to_owned();
            let (at_ms, at_us) = (used["at_ms"].as_u64(), used["at_us"].as_i64());
            assert!(at_us > Some(1_700_000_000_000_000), "{used}");
            assert!(used["health"].is_string(), "{used}");
            let seq = used["seq"].as_u64().unwrap_or_else(|| panic!("{used}"));
            let seen = &entries[&seq]["entry"]["observation"];
            let is_at =
                |at: &Value| at["elapsed_ms"].as_u64() == at_ms && at["utc_us"].as_i64() == at_us;
            if source == "meter/site" {
                assert!(is_at(&seen["site_meter"]["at"]), "{used}: {seen}");
            }
            if source == "signal/utility" {
                let readings = seen["signals"].as_array().unwrap();
                assert!(
                    readings.iter().any(|one| is_at(&one["read_at"])),
                    "{used}: {seen}"
                );
            }
            *found.entry(source).or_insert(0) += 1;
        }
    }
    let sources: Vec<&str> = found.keys().map(String::as_str).collect();
    let wanted = [
        "meter/site",
        "signal/utility",
        "temperature/control",
        "temperature/highest",
    ];
    assert_eq!(sources, wanted, "{found:?}");
}
