//! Prices, strikes and times of day.

#![allow(clippy::unwrap_used)]

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn signal(intervals: bool, strikes: Value) -> PriceSignal {
    let mut keys = json!({"url": "https://prices.example/", "price": "/price",
        "strikes": strikes, "time_zone": "America/Chicago"});
    if intervals {
        keys["intervals"] = json!({"list": "/data", "start": "/from", "length_s": 3600});
    }
    PriceSignal::new(serde_json::from_value(keys).unwrap()).unwrap()
}

fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text)
        .unwrap()
        .timestamp_micros()
}

#[test]
fn a_single_price_counts_now_and_in_its_window() {
    // 14:00 to 20:00 in Chicago is 20:00 to 02:00 UTC in winter and 19:00 to 01:00 in summer.
    let strikes = json!([{"above": 100, "cap_kw": 300, "from": "14:00", "to": "20:00"}]);
    let signal = signal(false, strikes);
    for (now, price, level) in [
        ("2026-01-15T20:00:00Z", 150.0, Level::Curtail),
        ("2026-01-15T19:58:00Z", 150.0, Level::Normal),
        ("2026-07-15T19:30:00Z", 150.0, Level::Curtail),
        ("2026-07-16T01:30:00Z", 150.0, Level::Normal),
        ("2026-01-15T20:30:00Z", 100.0, Level::Normal),
        ("2026-01-15T20:30:00Z", -20.0, Level::Normal),
    ] {
        let body = json!({"price": price}).to_string();
        let requests = signal.value(body.as_bytes(), at(now)).unwrap();
        assert_eq!(
            (requests.len(), requests[0].level),
            (1, level),
            "{now} {price}"
        );
    }
}

#[test]
fn intervals_are_asked_for_now_and_announced() {
    let signal = signal(
        true,
        json!([{"above": 50}, {"above": 500, "level": "emergency"}]),
    );
    let body = json!({"data": [
        {"from": "2026-01-15T10:00:00Z", "price": 20},
        {"from": at("2026-01-15T11:00:00Z") / 1_000_000, "price": "60.5"},
        {"from": at("2026-01-15T12:00:00Z") / 1_000, "price": 900}]});
    let body = body.to_string();
    let ask = |now: &str| signal.value(body.as_bytes(), at(now));
    let found = ask("2026-01-15T10:30:00Z").unwrap();
    let levels: Vec<Level> = found.iter().map(|one| one.level).collect();
    use Level::{Curtail, Emergency, Normal};
    assert_eq!(levels, [Normal, Curtail, Emergency, Curtail]);
    let found = ask("2026-01-15T12:30:00Z").unwrap();
    assert_eq!(found[0].level, Emergency);
    assert_eq!(found[0].ends_at_us, Some(at("2026-01-15T13:00:00Z")));
    for outside in ["2026-01-15T09:59:59Z", "2026-01-15T13:00:00Z"] {
        assert!(ask(outside).unwrap_err().contains("now"), "{outside}");
    }
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let strikes = json!([{"above": 0, "from": "22:00", "to": "02:00", "days": ["fri"]}]);
    let signal = signal(false, strikes);
    let level = |now: &str| signal.value(br#"{"price": 1}"#, at(now)).unwrap()[0].level;
    // 2026-01-16 is a Friday; Chicago is six hours behind.
    assert_eq!(level("2026-01-17T04:30:00Z"), Level::Curtail);
    assert_eq!(level("2026-01-17T07:30:00Z"), Level::Curtail);
    assert_eq!(level("2026-01-17T08:30:00Z"), Level::Normal);
    assert_eq!(level("2026-01-16T07:30:00Z"), Level::Normal);
}

#[test]
fn keys_that_cannot_work_are_refused_by_name() {
    let good = json!({"url": "https://a/", "price": "/p", "strikes": [{"above": 1}]});
    for (key, value, named) in [
        ("price", json!("p"), "price"),
        ("strikes", json!([]), "strikes"),
        ("strikes", json!([{"above": 1, "from": "25:00"}]), "from"),
        ("strikes", json!([{"above": 1, "days": ["funday"]}]), "days"),
        ("strikes", json!([{"above": 1, "cap_kw": -1}]), "cap_kw"),
        ("time_zone", json!("Mars/Olympus"), "time_zone"),
        (
            "intervals",
            json!({"list": "/a", "start": "/b"}),
            "length_s",
        ),
    ] {
        let mut keys = good.clone();
        keys[key] = value;
        let refusal = PriceSignal::new(serde_json::from_value(keys.clone()).unwrap()).err();
        assert!(
            refusal.as_deref().is_some_and(|one| one.contains(named)),
            "{keys}: {refusal:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_document_is_read_or_refused(
        body in proptest::collection::vec(any::<u8>(), 0..100), now: i64, start: f64, price: f64,
    ) {
        let strikes = json!([{"above": 0, "from": "22:00", "to": "02:00"}]);
        let (single, list) = (signal(false, strikes.clone()), signal(true, strikes));
        single.value(&body, now).ok();
        let body = json!({"price": price, "data": [{"from": start, "price": price}]}).to_string();
        single.value(body.as_bytes(), now).ok();
        list.value(body.as_bytes(), now).ok();
        list.value(body.as_bytes(), (start * 1e6) as i64).ok();
    }
}
