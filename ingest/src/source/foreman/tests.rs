//! Tests of foreman: lists of machines, pages, pauses and rubbish.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::source::{Query, Reading, SourceConfig};
use proptest::prelude::*;
use serde_json::json;

fn device(keys: Value) -> Result<Box<dyn Device>, String> {
    Foreman.device(keys.as_object().unwrap().clone())
}

fn answer(document: Value) -> Option<Bytes> {
    Some(document.to_string().into())
}

fn path(request: Option<Request>) -> Option<String> {
    request.map(|request| match request.query {
        Query::Get(path) => path,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_miner_whose_readings_are_old_or_not_there_is_missing_and_never_zero() {
    let device = device(
        json!({"path": "/api/v2/miners", "max_age_s": 600, "values": [
        {"pointer": "/stats/ths", "quantity": "hashrate_hs", "factor": 1e12},
        {"pointer": "/stats/w", "quantity": "power_w", "missing": [-1]},
        {"pointer": "/status", "quantity": "mining_state", "on": ["okay"], "off": ["asleep"]}]}),
    )
    .unwrap();
    let miner = |name: &str, updated: Value, ths: Value, watts: Value, status: &str| {
        json!({"name": name, "lastUpdated": updated, "stats": {"ths": ths, "w": watts},
            "status": status})
    };
    let list = json!([
        miner(
            "a",
            "2026-03-01T12:00:00Z".into(),
            100.0.into(),
            3000.into(),
            "Okay"
        ),
        miner(
            "old",
            "2026-03-01T11:49:00Z".into(),
            100.0.into(),
            3000.into(),
            "okay"
        ),
        miner("bare", Value::Null, Value::Null, (-1).into(), "?"),
        miner(
            "off",
            1_772_366_400_000_i64.into(),
            0.into(),
            20.into(),
            "asleep"
        ),
        json!({"lastUpdated": 0})
    ]);
    let readings = device.read(&[answer(list)]).unwrap();
    let power = |part: &str, power_w: f64| Reading::Power {
        part: part.to_owned(),
        power_w,
        energy_total_wh: None,
    };
    let hashrate = |part: &str, hashrate_hs: f64| Reading::Hashrate {
        part: part.to_owned(),
        hashrate_hs,
    };
    let state = |part: &str, value: f64| Reading::Sensor {
        part: part.to_owned(),
        quantity: "mining_state".to_owned(),
        value,
    };
    assert_eq!(
        readings.values,
        [
            hashrate("a", 1e14),
            power("a", 3000.0),
            state("a", 1.0),
            hashrate("off", 0.0),
            power("off", 20.0),
            state("off", 0.0),
        ]
    );
    assert_eq!(readings.missing, 9);
    assert!(readings.progress.is_some());
}

#[test]
fn pages_are_asked_for_at_the_same_service_and_end() {
    let keys = json!({"path": "/api/v2/miners?limit=2"});
    let by_next = device(keys.clone()).unwrap();
    let page = |next: Value| answer(json!({"results": [{"name": "a"}], "next": next}));
    let first = page("http://elsewhere.example/api/v2/miners?limit=2&page=2".into());
    let next = by_next.next_request(std::slice::from_ref(&first));
    assert_eq!(path(next).as_deref(), Some("/api/v2/miners?limit=2&page=2"));
    assert_eq!(
        by_next.next_request(&[first.clone(), page(Value::Null)]),
        None
    );
    assert_eq!(by_next.next_request(&[None]), None);
    assert_eq!(
        by_next.next_request(&vec![first; MOST_PAGES]),
        None,
        "not for ever"
    );
    let mut keys = keys;
    keys["offset"] = "skip".into();
    let by_offset = device(keys).unwrap();
    let two = answer(json!([{"name": "a"}, {"name": "b"}]));
    let next = by_offset.next_request(&[two.clone(), two.clone()]);
    assert_eq!(path(next).as_deref(), Some("/api/v2/miners?limit=2&skip=4"));
    assert_eq!(by_offset.next_request(&[two, answer(json!([]))]), None);
}

#[test]
fn keys_that_cannot_be_and_addresses_in_clear_are_refused() {
    for (keys, reason) in [
        (json!({}), "path"),
        (json!({"path": "api"}), "begins with /"),
        (json!({"path": "/", "list": "data"}), "must begin with /"),
        (json!({"path": "/", "offset": "a&b"}), "names a parameter"),
        (json!({"path": "/", "max_age_s": -1}), "max_age_s"),
        (
            json!({"path": "/", "values": [{"pointer": "/a", "quantity": "A"}]}),
            "lower case",
        ),
    ] {
        let error = device(keys.clone()).err().unwrap_or_default();
        assert!(error.contains(reason), "{keys}: {error:?}");
    }
    for (address, private) in [
        ("https://api.foreman.mn", true),
        ("http://foreman.mn", false),
        ("http://127.0.0.1:9000", true),
        ("http://[::1]:9000", true),
        ("http://localhost", true),
        ("http://localhost.example.org", false),
        ("foreman.mn", false),
    ] {
        assert_eq!(is_private(address), private, "{address}");
        let entry = json!({"kind": "foreman", "name": "a", "site": "n", "address": address,
            "path": "/"});
        let config: SourceConfig = serde_json::from_value(entry).unwrap();
        assert_eq!(
            config.check().is_ok(),
            private,
            "{address}: {:?}",
            config.check()
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let device = device(json!({"path": "/", "offset": "skip"})).unwrap();
        let answers = [Some(Bytes::from(bytes))];
        device.read(&answers).ok();
        device.next_request(&answers);
    }
}
