//! Tests of mqtt: packets, topics, clocks, last wills and rubbish.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::source::Reading;
use crate::source::mqtt_packet::{Publish, stored_bytes};
use proptest::prelude::*;
use serde_json::json;

const AT_US: i64 = 1_772_366_400_000_000;

fn device(keys: Value) -> Result<Box<dyn Device>, String> {
    Mqtt.device(keys.as_object().unwrap().clone())
}

fn message(topic: &str, payload: &str) -> Stored {
    Stored {
        at_us: AT_US,
        is_new: true,
        publish: Publish {
            topic: topic.to_owned(),
            is_retained: false,
            payload: payload.to_owned().into(),
        },
    }
}

fn retained(topic: &str, payload: &str) -> Stored {
    let mut message = message(topic, payload);
    message.publish.is_retained = true;
    message
}

fn read(device: &dyn Device, messages: &[Stored]) -> Result<Readings, String> {
    device.read(&[Some(stored_bytes(messages))])
}

fn sensor(part: &str, quantity: &str, value: f64) -> Reading {
    Reading::Sensor {
        part: part.to_owned(),
        quantity: quantity.to_owned(),
        value,
    }
}

#[test]
fn telemetry_of_tasmota_is_read_as_its_documents_show_it() {
    let device = device(json!({"preset": "tasmota", "topic": "plug-1"})).unwrap();
    let readings = read(
        &*device,
        &[
            message(
                "tele/plug-1/SENSOR",
                r#"{"Time":"2026-03-01T12:00:00","ENERGY":{"Total":12.5,"Power":1500,
                "Voltage":230,"Current":6.52},"SI7021":{"Temperature":68.0,"Humidity":41.5},
                "TempUnit":"F"}"#,
            ),
            message(
                "tele/plug-1/STATE",
                r#"{"Time":"2026-03-01T12:00:00","Uptime":"0T01:00:00","POWER":"ON",
                "Wifi":{"RSSI":80}}"#,
            ),
            retained("tele/plug-1/LWT", "Online"),
        ],
    )
    .unwrap();
    let power = Reading::Power {
        part: String::new(),
        power_w: 1_500.0,
        energy_total_wh: Some(12_500.0),
    };
    let expected = [
        power,
        sensor("", "voltage_v", 230.0),
        sensor("", "current_a", 6.52),
        sensor("SI7021", "temperature_c", 20.0),
        sensor("SI7021", "humidity_pct", 41.5),
        sensor("", "relay_state", 1.0),
    ];
    for one in &expected {
        assert!(
            readings.values.contains(one),
            "{one:?} {:?}",
            readings.values
        );
    }
    assert_eq!(
        (readings.values.len(), readings.missing),
        (expected.len(), 0)
    );
    assert_eq!(readings.progress.as_deref(), Some("2026-03-01T12:00:00"));
    assert_eq!(readings.at_us, Some(AT_US));
}

#[test]
fn the_status_of_a_shelly_is_that_of_its_switch() {
    let device = device(json!({"preset": "shelly", "topic": "shelly-1", "switches": [0, 1]}));
    let status = r#"{"id":1,"source":"init","output":false,"apower":8.9,"voltage":237.5,
        "current":0.04,"aenergy":{"total":6.5,"by_minute":[0.0],"minute_ts":1626935779},
        "temperature":{"tC":23.5,"tF":74.4}}"#;
    let messages = [message("shelly-1/status/switch:1", status)];
    let readings = read(&*device.unwrap(), &messages).unwrap();
    let power = Reading::Power {
        part: "switch-1".to_owned(),
        power_w: 8.9,
        energy_total_wh: Some(6.5),
    };
    assert_eq!(
        readings.values,
        [
            power,
            sensor("switch-1", "voltage_v", 237.5),
            sensor("switch-1", "current_a", 0.04),
            sensor("switch-1", "temperature_c", 23.5),
            sensor("switch-1", "relay_state", 0.0),
        ]
    );
}

#[test]
fn a_last_will_is_offline_whatever_else_came() {
    for (keys, topic, text) in [
        (
            json!({"preset": "tasmota", "topic": "a"}),
            "tele/a/LWT",
            "Offline",
        ),
        (
            json!({"preset": "shelly", "topic": "a"}),
            "a/online",
            "false",
        ),
        (
            json!({"values": [{"topic": "a", "quantity": "power_w"}],
                "will": {"topic": "w", "offline": "gone"}}),
            "w",
            "gone",
        ),
    ] {
        let device = device(keys).unwrap();
        let mut will = retained(topic, text);
        will.is_new = false;
        let readings = read(&*device, &[message("a", "1"), will]).unwrap();
        assert!(matches!(readings.standing, Standing::Offline(_)), "{topic}");
        assert_eq!(readings.values, []);
        let readings = read(&*device, &[retained(topic, "Online")]).unwrap();
        assert!(
            matches!(readings.standing, Standing::Unchanged(_)),
            "{topic}"
        );
    }
}

#[test]
fn a_retained_message_counts_only_when_its_own_clock_says_that_it_is_young() {
    let keys = |age: Value| {
        json!({"values": [{"topic": "m", "pointer": "/w", "quantity": "power_w"}],
            "clock": "/ts", "retained_max_age_s": age})
    };
    let now_s = AT_US / 1_000_000;
    let counts = |age: Value, ts: Value| {
        let payload = json!({"w": 5, "ts": ts}).to_string();
        let device = device(keys(age)).unwrap();
        let readings = read(&*device, &[retained("m", &payload)]).unwrap();
        readings.standing == Standing::New && readings.values.len() == 1
    };
    assert!(counts(60.into(), (now_s - 59).into()));
    assert!(
        counts(60.into(), (now_s + 30).into()),
        "a clock a little ahead"
    );
    for (age, ts) in [
        (60.into(), (now_s - 61).into()),
        (60.into(), (now_s + 86_400).into()),
        (60.into(), Value::Null),
        (Value::Null, now_s.into()),
    ] {
        assert!(!counts(age, ts));
    }
}

#[test]
fn only_what_is_new_is_stored_and_what_moves_on_is_seen_over_all_topics() {
    let device = device(json!({"progress": "/at", "values": [
        {"topic": "a", "pointer": "/w", "quantity": "power_w"},
        {"topic": "b", "quantity": "relay_state", "part": "r", "on": "ON", "off": "OFF"}]}))
    .unwrap();
    let mut first = message("a", r#"{"w":5,"at":7}"#);
    first.is_new = false;
    let readings = read(&*device, &[first.clone(), message("b", " ON ")]).unwrap();
    assert_eq!(readings.values, [sensor("r", "relay_state", 1.0)]);
    assert_eq!(readings.progress.as_deref(), Some("7"));
    let readings = read(&*device, &[first, message("b", "broken")]).unwrap();
    assert_eq!((readings.values.len(), readings.missing), (0, 1));
    let error = read(&*device, &[message("a", "{")]).unwrap_err();
    assert!(error.contains("at a is not JSON"), "{error}");
    assert!(read(&*device, &[message("b", "")]).unwrap().missing == 1);
}

#[test]
fn keys_that_cannot_be_are_refused() {
    let value = json!({"topic": "a", "quantity": "power_w"});
    for (keys, reason) in [
        (json!({}), "preset"),
        (json!({"preset": "tasmota"}), "topic"),
        (json!({"preset": "x", "topic": "a"}), "tasmota"),
        (
            json!({"preset": "shelly", "topic": "a", "values": [value]}),
            "either",
        ),
        (
            json!({"preset": "shelly", "topic": "a", "switches": []}),
            "switches",
        ),
        (
            json!({"values": [{"topic": "a/#", "quantity": "power_w"}]}),
            "wildcards",
        ),
        (
            json!({"values": [{"topic": "", "quantity": "power_w"}]}),
            "topic",
        ),
        (
            json!({"values": [{"topic": "a", "quantity": "W"}]}),
            "lower case",
        ),
        (
            json!({"values": [{"topic": "a", "quantity": "x", "on": "1"}]}),
            "on and off",
        ),
        (json!({"values": [value], "clock": "at"}), "begin with /"),
        (
            json!({"values": [value], "retained_max_age_s": -1}),
            "retained_max_age_s",
        ),
    ] {
        let error = device(keys.clone()).err().unwrap_or_default();
        assert!(error.contains(reason), "{keys}: {error:?}");
    }
}

proptest! {
    #[test]
    fn any_payload_is_read_or_refused(
        payload in prop::collection::vec(any::<u8>(), 0..200), text in "[0-9a-zA-Z{}:\",.-]{0,40}",
    ) {
        for keys in [
            json!({"preset": "tasmota", "topic": "a"}), json!({"preset": "shelly", "topic": "a"}),
            json!({"values": [{"topic": "a", "quantity": "power_w"}], "progress": "/a"}),
        ] {
            let device = device(keys).unwrap();
            device.read(&[Some(payload.clone().into())]).ok();
            for topic in ["tele/a/SENSOR", "tele/a/STATE", "a/status/switch:0", "a"] {
                let mut one = message(topic, &text);
                read(&*device, &[one.clone()]).ok();
                one.publish.payload = payload.clone().into();
                read(&*device, &[one]).ok();
            }
        }
    }
}
