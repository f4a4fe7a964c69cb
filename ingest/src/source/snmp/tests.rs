//! Tests of snmp: tables, models, units and rubbish.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::source::Reading;
use proptest::prelude::*;
use serde_json::json;

fn device(keys: serde_json::Value) -> Result<Box<dyn Device>, String> {
    Snmp.device(keys.as_object().unwrap().clone())
}

fn bytes(objects: &[(&str, Value)]) -> Option<Bytes> {
    let binding = |(oid, value): &(&str, Value)| Binding {
        oid: Oid::parse(oid).unwrap(),
        value: value.clone(),
    };
    let bindings: Vec<Binding> = objects.iter().map(binding).collect();
    Some(snmp_message::bindings_bytes(&bindings).into())
}

fn sensor(part: &str, quantity: &str, value: f64) -> Reading {
    Reading::Sensor {
        part: part.to_owned(),
        quantity: quantity.to_owned(),
        value,
    }
}

#[test]
fn rows_of_a_table_have_digits_and_states_and_what_does_not_count_is_missing() {
    let device = device(json!({"values": [
        {"oid": "1.3.9.1.{n}.5", "quantity": "power_w", "part": "outlet-{n}",
            "digits": "1.3.9.2.{n}.5", "valid": "1.3.9.3.{n}.5"},
        {"oid": "1.3.9.4.{n}", "quantity": "temperature_c", "part": "probe-{n}",
            "fahrenheit": true, "when": {"oid": "1.3.9.5.{n}", "is": 10}}],
        "outlets": {"write": "1.3.9.7.{n}", "on": 1, "off": 2, "read": "1.3.9.6.{n}",
            "read_on": 7, "read_off": 8}}))
    .unwrap();
    let int = Value::Integer;
    let answer = bytes(&[
        (UPTIME, Value::Unsigned(1_234)),
        ("1.3.9.1.1.4", int(230)),
        ("1.3.9.1.1.5", int(12_345)),
        ("1.3.9.1.2.5", int(5)),
        ("1.3.9.1.3.5", int(5)),
        ("1.3.9.2.1.5", int(1)),
        ("1.3.9.2.2.5", int(0)),
        ("1.3.9.3.1.5", int(1)),
        ("1.3.9.3.2.5", int(2)),
        ("1.3.9.3.3.5", int(1)),
        ("1.3.9.4.1", Value::Octets(b"68.0".to_vec())),
        ("1.3.9.4.2", int(40)),
        ("1.3.9.5.1", int(10)),
        ("1.3.9.5.2", int(11)),
        ("1.3.9.6.1", int(7)),
        ("1.3.9.6.2", int(8)),
        ("1.3.9.6.3", int(9)),
    ]);
    let readings = device.read(&[answer]).unwrap();
    assert_eq!(
        readings.values,
        [
            sensor("outlet-1", "relay_state", 1.0),
            sensor("outlet-2", "relay_state", 0.0),
            Reading::Power {
                part: "outlet-1".to_owned(),
                power_w: 1_234.5,
                energy_total_wh: None,
            },
            sensor("probe-1", "temperature_c", 20.0),
        ]
    );
    // An outlet in no state, a row that does not count, and one without its digits.
    assert_eq!(readings.missing, 3);
    assert_eq!(readings.progress.as_deref(), Some("1234"));
}

#[test]
fn an_object_that_is_not_there_is_missing_but_a_model_may_lack_what_it_likes() {
    let own = json!([{"oid": "1.3.9.1.0", "quantity": "power_w"},
        {"oid": "1.3.9.2.{n}", "quantity": "current_a"}]);
    let device_of_own = device(json!({"values": own})).unwrap();
    let answer = bytes(&[("1.3.9.1.0", Value::Missing)]);
    let readings = device_of_own.read(&[answer]).unwrap();
    assert_eq!((readings.values.len(), readings.missing), (0, 2));
    let apc = device(json!({"model": "apc"})).unwrap();
    let answer = bytes(&[
        ("1.3.6.1.4.1.318.1.1.12.1.15.0", Value::Missing),
        ("1.3.6.1.4.1.318.1.1.12.1.16.0", Value::Integer(-1)),
        ("1.3.6.1.4.1.318.1.1.12.2.3.1.1.2.1", Value::Unsigned(123)),
    ]);
    let readings = apc.read(&[answer]).unwrap();
    assert!(
        matches!(readings.values.as_slice(), [Reading::Sensor { value, .. }]
            if (value - 12.3).abs() < 1e-9),
        "{readings:?}"
    );
    assert_eq!(readings.missing, 1, "-1 is none");
}

#[test]
fn each_table_is_walked_through_once_and_keys_that_cannot_be_are_refused() {
    for model in MODELS {
        let device = device(json!({"model": model.name})).unwrap();
        let queries: Vec<Query> = device.requests().into_iter().map(|one| one.query).collect();
        let mut below: Vec<String> = Vec::new();
        for query in &queries {
            if let Query::Snmp(_, SnmpObjects::Below(oid, most)) = query {
                assert_eq!(*most, 2_000);
                below.push(format!("{oid}."));
            }
        }
        // A RoomAlert has no tables.
        assert_eq!(below.is_empty(), model.name == "roomalert");
        for (at, one) in below.iter().enumerate() {
            let twice = below
                .iter()
                .skip(at + 1)
                .any(|other| other.starts_with(one));
            assert!(!twice, "{}: {one}", model.name);
        }
    }
    let value = |more: serde_json::Value| {
        let mut value = json!({"oid": "1.3.9.{n}", "quantity": "power_w"});
        for (key, one) in more.as_object().unwrap() {
            value[key] = one.clone();
        }
        json!({"values": [value]})
    };
    assert!(device(value(json!({}))).is_ok());
    for (keys, reason) in [
        (json!({}), "set model"),
        (json!({"model": "x"}), "apc_rpdu2"),
        (json!({"model": "apc", "version": "3"}), "2c"),
        (json!({"model": "apc", "most_objects": 0}), "most_objects"),
        (value(json!({"oid": "1.3.x"})), "no object identifier"),
        (value(json!({"oid": "1.3.{n}.{n}"})), "no object identifier"),
        (value(json!({"oid": "1.3{n}"})), "between two dots"),
        (value(json!({"quantity": "Power"})), "lower case"),
        (value(json!({"part": "a"})), "told apart"),
        (value(json!({"on": 1})), "on and off"),
        (
            value(json!({"oid": "1.3.9", "digits": "1.3.{n}"})),
            "has {n}",
        ),
        (
            json!({"outlets": {"read": "1.3.9", "read_on": 1, "read_off": 2}}),
            "outlets.read",
        ),
    ] {
        let error = device(keys.clone()).err().unwrap_or_default();
        assert!(error.contains(reason), "{keys}: {error:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for model in MODELS {
            let device = device(json!({"model": model.name})).unwrap();
            device.read(&[Some(bytes.clone().into())]).ok();
        }
    }
}

#[test]
fn a_roomalert_counts_in_hundredths_and_has_what_its_model_has() {
    let device = device(json!({"model": "roomalert"})).unwrap();
    let int = Value::Integer;
    let of_3e = bytes(&[("1.3.6.1.4.1.20916.1.9.1.1.1.1.0", int(2_356))]);
    let readings = device.read(&[of_3e]).unwrap();
    let internal = sensor("internal", "temperature_c", 23.56);
    assert_eq!((readings.values, readings.missing), (vec![internal], 0));
    let of_12er = bytes(&[
        ("1.3.6.1.4.1.20916.1.10.1.2.1.0", int(1_850)),
        ("1.3.6.1.4.1.20916.1.10.1.2.3.0", int(-99_900)),
    ]);
    let readings = device.read(&[of_12er]).unwrap();
    let digital = sensor("digital-1", "temperature_c", 18.5);
    assert_eq!((readings.values, readings.missing), (vec![digital], 1));
}
