//! Messages read and written by the definitions: known bytes, and random ones.
#![allow(clippy::unwrap_used)]
use headframe_schemas::column::Limits;
use headframe_schemas::resource::proto::{self, Label, Message, Shape};
use headframe_schemas::resource::{self, Resource};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::message::{Object, decode, encode};

fn request(name: &str) -> &'static Message {
    let mut calls = proto::calls().iter();
    &calls.find(|call| call.name == name).unwrap().request
}

/// A request with every field that it may have.
fn whole(message: &Message, text: &str, whole: i64, number: f64) -> Object {
    let value = |shape: &Shape| match shape {
        Shape::Text => json!(text),
        Shape::Whole => json!(whole),
        Shape::Small => json!(whole as i32),
        Shape::Number => json!(number),
        Shape::Bool => json!(whole % 2 == 0),
        Shape::Time => json!("2026-01-31T12:00:00.000250Z"),
        Shape::Message(inner) => Value::Object(self::whole(inner, text, whole, number)),
    };
    let fields = message.fields.iter();
    fields
        .map(|field| (field.name.to_owned(), value(&field.shape)))
        .collect()
}

#[test]
fn bytes_are_those_of_protobuf() {
    let known: &[(&str, Value, &[u8])] = &[
        ("GetSite", json!({"id": "a"}), b"\x0a\x01a"),
        (
            "DeleteSite",
            json!({"id": "a", "expected_version": 300}),
            b"\x0a\x01a\x10\xac\x02",
        ),
        (
            "ListSites",
            json!({"limit": -1}),
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ),
        (
            "GetSite",
            json!({"as_of": "1970-01-01T00:00:01.000000002Z"}),
            b"\x12\x04\x08\x01\x10\x02",
        ),
        (
            "CreateSite",
            json!({"site": {"name": "ä", "latitude_deg": 1.5}}),
            b"\x0a\x0d\x5a\x02\xc3\xa4\x79\0\0\0\0\0\0\xf8\x3f",
        ),
    ];
    for (name, object, bytes) in known {
        let object = object.as_object().unwrap();
        assert_eq!(encode(request(name), object).unwrap(), *bytes, "{object:?}");
        assert_eq!(decode(request(name), bytes).as_ref(), Ok(object));
    }
}

#[test]
fn what_is_no_number_no_time_or_no_field_stays_for_the_rules_to_name() {
    let nan = [b"\x0a\x09\x79".as_slice(), &f64::NAN.to_le_bytes()].concat();
    let read = decode(request("CreateSite"), &nan).unwrap();
    assert_eq!(
        read,
        *json!({"site": {"latitude_deg": "NaN"}})
            .as_object()
            .unwrap()
    );
    // Seconds 2^62, and nanoseconds -1.
    for time in [
        b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x40".as_slice(),
        b"\x10\xff\xff\xff\xff\x0f",
    ] {
        let bytes = [&[0x12, time.len() as u8], time].concat();
        let read = decode(request("GetSite"), &bytes).unwrap();
        let text = read["as_of"].as_str().unwrap();
        assert_eq!(resource::values::parse_time(text), None, "{text}");
    }
    let unknown = decode(request("CreateSite"), b"\x0a\x04\xf2\x7f\x01a").unwrap();
    assert_eq!(unknown["site"], json!({"number 2046": null}));
    let said = |bytes: &[u8]| decode(request("GetSite"), bytes).unwrap_err().to_string();
    assert!(said(b"\x0a\x01\xff").contains("field `id`: it is not UTF-8"));
    assert!(said(b"\x08\x01").contains("field `id`"));
    assert!(said(b"\x0a\x7fa").contains("field `id`"));
}

#[test]
fn groups_in_groups_end_at_a_depth() {
    let deep = [vec![0x9b; 40_000], vec![0x9c; 40_000]];
    let deep: Vec<u8> = deep
        .concat()
        .into_iter()
        .flat_map(|byte| [byte, 0x06])
        .collect();
    assert!(decode(request("GetSite"), &deep).is_err());
    let shallow = b"\x9b\x06\x9b\x06\x9c\x06\x9c\x06";
    assert!(
        decode(request("GetSite"), shallow)
            .unwrap()
            .contains_key("number 99")
    );
}

#[test]
fn only_answers_have_repeated_fields() {
    for call in proto::calls() {
        let repeated = |message: &Message| {
            message
                .fields
                .iter()
                .any(|field| field.label == Label::Repeated)
        };
        assert!(!repeated(&call.request), "{}", call.name);
        for field in &call.request.fields {
            if let Shape::Message(inner) = &field.shape {
                assert!(!repeated(inner), "{}", call.name);
            }
        }
    }
}

/// The words of a kind's fields, which reach the parsers of values.
fn words(kind: &Resource) -> Vec<&'static str> {
    let mut words = vec!["", "NaN", "2026-01-31T12:00:00Z", "Europe/Oslo"];
    for field in kind.fields {
        words.push(field.name());
        if let Limits::OneOf(some) = field.column.limits {
            words.extend(some);
        }
    }
    words
}

proptest! {
    #[test]
    fn no_bytes_confuse_it(bytes in vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
        let call = at.get(proto::calls());
        if let Ok(object) = decode(&call.request, &bytes) {
            for name in object.keys() {
                prop_assert!(call.request.has(name) || name.starts_with("number "), "{}", name);
            }
        }
    }

    #[test]
    fn a_message_with_some_bytes_changed_confuses_nobody(
        at in any::<prop::sample::Index>(),
        word in any::<prop::sample::Index>(),
        whole_number in any::<i64>(),
        number in any::<f64>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let call = at.get(proto::calls());
        let text = *word.get(&words(call.resource));
        let number = if number.is_finite() { number } else { 0.5 };
        let object = whole(&call.request, text, whole_number, number);
        let mut bytes = encode(&call.request, &object).unwrap();
        prop_assert_eq!(decode(&call.request, &bytes), Ok(object));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&call.request, &bytes);
    }
}
