//! The API of cgminer that machines speak, TCP 4028: one JSON object in, one out.

use bytes::Bytes;
use headframe_ingest::source::{asic_document, json};
use serde_json::{Value, json};

use super::{ActuateFailure, Link, ReadBack, malformed, refused};

/// Hashrates in a summary; which unit they are in does not matter here.
const RATES: &[&str] = &[
    "THS 5s", "GHS 5s", "MHS 5s", "HS RT", "MHS 5m", "GHS av", "MHS av",
];

/// One request; the answer is read to its end or a zero byte.
pub async fn ask(host: &str, request: &Value, link: &Link<'_>) -> Result<Value, ActuateFailure> {
    let bytes = request.to_string().into_bytes();
    let answer: Bytes = link.exchange.send(host, &bytes, link.most, Some(0)).await?;
    asic_document(&answer).map_err(malformed)
}

/// What a machine says to a command: yes, or why not.
pub fn acknowledged(document: &Value) -> Result<(), ActuateFailure> {
    // Whatsminer has no list around it.
    let status = document.get("STATUS");
    let first = status.and_then(|status| status.get(0)).unwrap_or(document);
    let text = |key: &str| first.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("STATUS") {
        "S" | "I" | "W" => Ok(()),
        status => Err(refused(format!(
            "the machine says no (status {status:.10?}: {:.100?})",
            text("Msg")
        ))),
    }
}

/// Whether it hashes and what it draws, by its summary.
pub async fn summary(host: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
    let document = ask(host, &json!({"command": "summary"}), link).await?;
    let nested = document.pointer("/summary/0/SUMMARY/0");
    let section = document.pointer("/SUMMARY/0").or(nested);
    let section = section.ok_or_else(|| malformed("the machine answers without a summary"))?;
    Ok(ReadBack {
        is_on: json::first_number(section, RATES).map(|rate| rate > 0.0),
        power_w: json::first_number(section, &["Power", "Power Realtime", "Wattage"]),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn yes_and_no_are_read_in_every_dialect() {
        for yes in [
            json!({"STATUS": [{"STATUS": "S", "Msg": "x"}]}),
            json!({"STATUS": "S", "Code": 131, "Msg": "API command OK"}),
            json!({"STATUS": [{"STATUS": "I", "Msg": "ASC 0 set info: success"}]}),
        ] {
            acknowledged(&yes).unwrap();
        }
        for no in [
            json!({"STATUS": [{"STATUS": "E", "Msg": "Invalid command"}]}),
            json!({"STATUS": "E", "Code": 23, "Msg": "invalid json"}),
            json!({}),
            json!([]),
        ] {
            assert!(acknowledged(&no).is_err(), "{no}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_yes_or_no(answer in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(document) = asic_document(&answer) {
                acknowledged(&document).ok();
            }
        }
    }
}
