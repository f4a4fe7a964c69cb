//! Events and what they ask for at which time.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const S: i64 = 1_000_000;

fn at(text: &str) -> i64 {
    time_us(text).unwrap()
}

fn meaning(simple: &[LevelRange]) -> Meaning<'_> {
    Meaning {
        simple,
        reference_kw: Some(1_000.0),
        price_above: Some(100.0),
        program: None,
        ven_name: "north",
    }
}

fn ask(events: Value, now: &str) -> Found {
    let simple = super::super::simple_levels();
    requests(events.as_array().unwrap(), &meaning(&simple), at(now))
}

fn known(found: Found) -> Vec<Request> {
    match found.value {
        SignalValue::Known(requests) => requests,
        SignalValue::Unknown(reason) => panic!("{reason}"),
    }
}

fn event(id: &str, kind: &str, values: Value) -> Value {
    json!({"id": id, "programID": "p", "createdDateTime": "2026-03-01T09:00:00Z",
        "intervalPeriod": {"start": "2026-03-01T10:00:00Z", "duration": "PT1H"},
        "intervals": [{"id": 0, "payloads": [{"type": kind, "values": values}]}]})
}

#[test]
fn an_event_is_announced_runs_and_is_over() {
    let events = json!([event("e", "IMPORT_CAPACITY_LIMIT", json!([500]))]);
    let start_us = at("2026-03-01T10:00:00Z");
    for (now, count, is_asking) in [
        ("2026-03-01T09:30:00Z", 1, false),
        ("2026-03-01T10:00:00Z", 1, true),
        ("2026-03-01T10:59:59Z", 1, true),
        ("2026-03-01T11:00:00Z", 0, false),
    ] {
        let found = ask(events.clone(), now);
        assert_eq!(found.asking.is_some(), is_asking, "{now}");
        let requests = known(found);
        assert_eq!(requests.len(), count, "{now}");
        for request in requests {
            assert_eq!(
                (request.level, request.cap_kw),
                (Level::Curtail, Some(500.0))
            );
            assert_eq!(request.starts_at_us, Some(start_us));
            assert_eq!(request.ends_at_us, Some(start_us + 3_600 * S));
            assert_eq!(request.event.as_deref(), Some("e"));
        }
    }
}

#[test]
fn every_payload_type_means_what_it_should() {
    let now = "2026-03-01T10:30:00Z";
    for (kind, values, level, cap_kw) in [
        ("SIMPLE", json!([0]), Level::Normal, None),
        ("SIMPLE", json!([2]), Level::Curtail, None),
        ("SIMPLE", json!([3]), Level::Emergency, None),
        (
            "DISPATCH_SETPOINT",
            json!([250.5]),
            Level::Curtail,
            Some(250.5),
        ),
        (
            "DISPATCH_SETPOINT_RELATIVE",
            json!([-400]),
            Level::Curtail,
            Some(600.0),
        ),
        (
            "DISPATCH_SETPOINT_RELATIVE",
            json!([-4000]),
            Level::Curtail,
            Some(0.0),
        ),
        (
            "ALERT_GRID_EMERGENCY",
            json!(["grid"]),
            Level::Emergency,
            None,
        ),
        ("PRICE", json!([140.0]), Level::Curtail, None),
    ] {
        let requests = known(ask(json!([event("e", kind, values)]), now));
        assert_eq!(
            (requests[0].level, requests[0].cap_kw),
            (level, cap_kw),
            "{kind}"
        );
    }
    for (kind, values) in [
        ("PRICE", json!([40.0])),
        ("GHG", json!([1])),
        ("X_OURS", json!([])),
    ] {
        assert_eq!(known(ask(json!([event("e", kind, values)]), now)), []);
    }
}

#[test]
fn intervals_follow_each_other_or_have_their_own_time() {
    let mut many = event("e", "SIMPLE", json!([1]));
    many["intervals"] = json!([
        {"id": 0, "payloads": [{"type": "SIMPLE", "values": [1]}]},
        {"id": 1, "payloads": [{"type": "SIMPLE", "values": [2]}]},
        {"id": 2, "intervalPeriod": {"start": "2026-03-01T20:00:00Z", "duration": "PT5M"},
            "payloads": [{"type": "SIMPLE", "values": [3]}]}]);
    let requests = known(ask(json!([many]), "2026-03-01T11:30:00Z"));
    let found: Vec<_> = requests
        .iter()
        .map(|one| (one.level, one.starts_at_us))
        .collect();
    assert_eq!(
        found,
        [
            (Level::Curtail, Some(at("2026-03-01T11:00:00Z"))),
            (Level::Emergency, Some(at("2026-03-01T20:00:00Z"))),
        ]
    );
}

#[test]
fn now_and_without_end_are_understood() {
    let mut open = event("e", "SIMPLE", json!([2]));
    open["intervalPeriod"] = json!({"start": "0001-01-01T00:00:00Z", "duration": "P9999Y"});
    let requests = known(ask(json!([open]), "2030-01-01T00:00:00Z"));
    assert_eq!((requests.len(), requests[0].ends_at_us), (1, None));
    let mut short = event("e", "SIMPLE", json!([2]));
    short["intervalPeriod"] = json!({"start": "0001-01-01T00:00:00Z", "duration": "PT1H"});
    assert_eq!(
        known(ask(json!([short.clone()]), "2026-03-01T09:59:00Z")).len(),
        1
    );
    assert_eq!(known(ask(json!([short]), "2026-03-01T10:00:00Z")).len(), 0);
}

#[test]
fn the_highest_priority_of_a_type_counts_and_others_stand_beside_it() {
    let mut first = event("first", "IMPORT_CAPACITY_LIMIT", json!([800]));
    first["priority"] = json!(0);
    let mut second = event("second", "IMPORT_CAPACITY_LIMIT", json!([300]));
    second["priority"] = json!(5);
    let third = event("third", "IMPORT_CAPACITY_LIMIT", json!([100]));
    let alert = event("alert", "ALERT_GRID_EMERGENCY", json!([]));
    let requests = known(ask(
        json!([third, second, first, alert]),
        "2026-03-01T10:30:00Z",
    ));
    let names: Vec<_> = requests
        .iter()
        .map(|one| one.event.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["alert", "first"]);
}

#[test]
fn a_randomized_start_is_later_by_the_same_share_each_time() {
    let mut random = event("e", "SIMPLE", json!([2]));
    random["intervalPeriod"]["randomizeStart"] = json!("PT10M");
    let start = |event: Value| known(ask(json!([event]), "2026-03-01T09:00:00Z"))[0].starts_at_us;
    let first = start(random.clone()).unwrap() - at("2026-03-01T10:00:00Z");
    assert!((1..600 * S).contains(&first), "{first}");
    assert_eq!(
        start(random.clone()).unwrap() - at("2026-03-01T10:00:00Z"),
        first
    );
    random["id"] = json!("another");
    assert_ne!(start(random).unwrap() - at("2026-03-01T10:00:00Z"), first);
}

#[test]
fn what_is_not_for_us_is_left_out_and_what_is_not_understood_is_unknown() {
    let now = "2026-03-01T10:30:00Z";
    let mut other = event("e", "SIMPLE", json!([3]));
    other["targets"] = json!([{"type": "VEN_NAME", "values": ["south"]}]);
    assert_eq!(known(ask(json!([other]), now)), []);
    let mut units = event("e", "IMPORT_CAPACITY_LIMIT", json!([1]));
    units["payloadDescriptors"] = json!([{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KVA"}]);
    let wrong = [
        units,
        event("e", "SIMPLE", json!([7])),
        event("e", "IMPORT_CAPACITY_LIMIT", json!([])),
        json!({"id": "e"}),
        json!({"id": "e", "intervals": [], "intervalPeriod": {"start": "yesterday"}}),
    ];
    for wrong in wrong {
        let found = ask(json!([wrong.clone()]), now);
        assert!(matches!(found.value, SignalValue::Unknown(_)), "{wrong}");
        // What others ask for counts all the same.
        let alert = event("alert", "ALERT_GRID_EMERGENCY", json!([]));
        assert_eq!(
            known(ask(json!([wrong, alert]), now))[0].level,
            Level::Emergency
        );
    }
}

proptest! {
    #[test]
    fn any_event_is_known_or_unknown(
        text in "\\{\"id\": \"e\", \"intervals\": \\[[a-z0-9{}\":, -]{0,60}\\]\\}",
        start in "[0-9TZ:-]{0,25}", duration in "P[0-9YMDTHS]{0,10}", value: f64,
        priority: Option<u32>, now: i64,
    ) {
        let simple = super::super::simple_levels();
        let mut events: Vec<Value> = serde_json::from_str(&text).into_iter().collect();
        let mut event = event("e", "IMPORT_CAPACITY_LIMIT", json!([value]));
        event["intervalPeriod"] = json!({"start": start, "duration": duration});
        event["priority"] = json!(priority);
        events.push(event);
        requests(&events, &meaning(&simple), now);
    }
}
