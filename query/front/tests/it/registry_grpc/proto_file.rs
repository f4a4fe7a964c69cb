//! The published `.proto` file, and messages by what it says.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use prost::encoding::{
    self, DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint,
};
use serde_json::{Map, Value, json};

pub const TEXT: &str = include_str!("../../../../../schemas/proto/registry.proto");

pub struct ProtoFile {
    messages: BTreeMap<&'static str, Vec<Declared>>,
    calls: BTreeMap<&'static str, (&'static str, &'static str)>,
}

/// A field as the file declares it.
struct Declared {
    name: &'static str,
    kind: &'static str,
    number: u32,
    is_repeated: bool,
}

impl ProtoFile {
    pub fn published() -> Self {
        let mut file = Self {
            messages: BTreeMap::new(),
            calls: BTreeMap::new(),
        };
        let mut message = "";
        for line in TEXT.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("message ") {
                message = rest.trim_end_matches(" {");
                file.messages.insert(message, Vec::new());
            }
            if let Some(rest) = line.strip_prefix("rpc ") {
                let parts: Vec<&str> = rest.split(['(', ')']).collect();
                file.calls.insert(parts[0], (parts[1], parts[3]));
            }
            let declared = line
                .strip_suffix(';')
                .and_then(|line| line.split_once(" = "));
            if let Some((field, number)) = declared.filter(|_| !message.is_empty()) {
                let (kind, name) = field.rsplit_once(' ').unwrap();
                let kind = kind.trim_start_matches("optional ");
                file.messages.get_mut(message).unwrap().push(Declared {
                    name,
                    kind: kind.trim_start_matches("repeated "),
                    number: number.parse().unwrap(),
                    is_repeated: kind.starts_with("repeated "),
                });
            }
        }
        file
    }

    /// The messages that a call takes and gives.
    pub fn call(&self, name: &str) -> (&'static str, &'static str) {
        self.calls[name]
    }

    pub fn encode(&self, message: &str, object: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in object.as_object().unwrap() {
            let declared = self.messages[message]
                .iter()
                .find(|field| field.name == name);
            let field = declared.unwrap_or_else(|| panic!("{message} has no {name}"));
            let number = field.number;
            let part = match field.kind {
                "string" => value.as_str().unwrap().as_bytes().to_vec(),
                "int64" | "int32" => {
                    encoding::int64::encode(number, &value.as_i64().unwrap(), &mut bytes);
                    continue;
                }
                "double" => {
                    encoding::double::encode(number, &value.as_f64().unwrap(), &mut bytes);
                    continue;
                }
                "google.protobuf.Timestamp" => {
                    let time = DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
                    let mut part = Vec::new();
                    encoding::int64::encode(1, &time.timestamp(), &mut part);
                    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap();
                    encoding::int32::encode(2, &nanos, &mut part);
                    part
                }
                inner => self.encode(inner, value),
            };
            encode_key(number, WireType::LengthDelimited, &mut bytes);
            encode_varint(part.len() as u64, &mut bytes);
            bytes.extend(part);
        }
        bytes
    }

    pub fn decode(&self, message: &str, mut bytes: &[u8]) -> Value {
        let mut object = Map::new();
        while !bytes.is_empty() {
            let (number, wire_type) = decode_key(&mut bytes).unwrap();
            let mut fields = self.messages[message].iter();
            let field = fields.find(|field| field.number == number).unwrap();
            let value = match wire_type {
                WireType::Varint => json!(decode_varint(&mut bytes).unwrap() as i64),
                WireType::SixtyFourBit => {
                    let mut number = 0.0;
                    let context = DecodeContext::default();
                    encoding::double::merge(wire_type, &mut number, &mut bytes, context).unwrap();
                    json!(number)
                }
                WireType::LengthDelimited => {
                    let length = decode_varint(&mut bytes).unwrap() as usize;
                    let (part, rest) = bytes.split_at(length);
                    bytes = rest;
                    match field.kind {
                        "string" => json!(std::str::from_utf8(part).unwrap()),
                        "google.protobuf.Timestamp" => time(part),
                        inner => self.decode(inner, part),
                    }
                }
                other => panic!("{other:?}"),
            };
            match field.is_repeated {
                true => match object.entry(field.name).or_insert_with(|| json!([])) {
                    Value::Array(values) => values.push(value),
                    other => panic!("{other}"),
                },
                false => drop(object.insert(field.name.to_owned(), value)),
            }
        }
        Value::Object(object)
    }
}

fn time(mut part: &[u8]) -> Value {
    let (mut seconds, mut nanos) = (0, 0);
    while !part.is_empty() {
        let (number, _) = decode_key(&mut part).unwrap();
        let value = decode_varint(&mut part).unwrap();
        match number {
            1 => seconds = value as i64,
            2 => nanos = value as u32,
            other => panic!("{other}"),
        }
    }
    let time = DateTime::from_timestamp(seconds, nanos).unwrap();
    json!(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
