//! Messages of the registry as JSON objects, read and written by the numbers and types that the
//! definitions of the kinds give their fields.
//!
//! A value of the wrong type for JSON, such as a number that is none, becomes text, so that the
//! rules of its field name it. A number that no field has is kept under a name that no field has.

use chrono::{DateTime, SecondsFormat};
use headframe_schemas::resource::proto::{Label, Message, MessageField, Shape};
use headframe_schemas::resource::values::parse_time;
use prost::DecodeError;
use prost::encoding::{
    self, DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encode_key,
    encode_varint, skip_field,
};
use serde_json::{Map, Number, Value};

use crate::wire::field_status::message_field;

/// A message as JSON.
pub(super) type Object = Map<String, Value>;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// They are no message at all.
    #[error("{message}: {reason}")]
    Message { message: String, reason: String },
    /// A field has bytes of another type.
    #[error("field `{field}`: {reason}")]
    Field { field: &'static str, reason: String },
}

/// A value that its field cannot hold: a defect of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the field {field} cannot hold {value}")]
pub(super) struct Unwritable {
    field: &'static str,
    value: String,
}

/// What bytes say, as the message of a request: it has no repeated fields.
pub(super) fn decode(message: &Message, bytes: &[u8]) -> Result<Object, Unreadable> {
    let mut object = Object::new();
    merge(message, bytes, &mut object)?;
    Ok(object)
}

/// Adds what bytes say; of two values of a field the later one counts.
fn merge(message: &Message, mut bytes: &[u8], object: &mut Object) -> Result<(), Unreadable> {
    let unreadable = |error: DecodeError| Unreadable::Message {
        message: message.name.clone(),
        reason: error.to_string(),
    };
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).map_err(unreadable)?;
        match message.field(number) {
            Some(field) => read(field, wire_type, &mut bytes, object)?,
            None => {
                let context = DecodeContext::default();
                skip_field(wire_type, number, &mut bytes, context).map_err(unreadable)?;
                object.insert(format!("number {number}"), Value::Null);
            }
        }
    }
    Ok(())
}

fn read(
    field: &MessageField,
    wire_type: WireType,
    bytes: &mut &[u8],
    object: &mut Object,
) -> Result<(), Unreadable> {
    let wrong = |reason: String| Unreadable::Field {
        field: field.name,
        reason,
    };
    let unreadable = |error: DecodeError| wrong(error.to_string());
    check_wire_type(wire_type_of(&field.shape), wire_type).map_err(unreadable)?;
    let value = match &field.shape {
        Shape::Text => {
            let text = std::str::from_utf8(delimited(bytes).map_err(unreadable)?);
            Value::from(text.map_err(|_| wrong("it is not UTF-8".to_owned()))?)
        }
        Shape::Whole => Value::from(decode_varint(bytes).map_err(unreadable)? as i64),
        Shape::Small => Value::from(decode_varint(bytes).map_err(unreadable)? as i32),
        Shape::Bool => Value::from(decode_varint(bytes).map_err(unreadable)? != 0),
        Shape::Number => {
            let mut number = 0.0;
            encoding::double::merge(wire_type, &mut number, bytes, DecodeContext::default())
                .map_err(unreadable)?;
            Number::from_f64(number).map_or_else(|| Value::from(number.to_string()), Value::Number)
        }
        Shape::Time => Value::from(read_time(bytes).map_err(unreadable)?),
        Shape::Message(inner) => {
            let part = delimited(bytes).map_err(unreadable)?;
            let held = object.entry(field.name);
            if let Value::Object(held) = held.or_insert_with(|| Value::Object(Object::new())) {
                merge(inner, part, held)?;
            }
            return Ok(());
        }
    };
    object.insert(field.name.to_owned(), value);
    Ok(())
}

fn wire_type_of(shape: &Shape) -> WireType {
    match shape {
        Shape::Text | Shape::Time | Shape::Message(_) => WireType::LengthDelimited,
        Shape::Whole | Shape::Small | Shape::Bool => WireType::Varint,
        Shape::Number => WireType::SixtyFourBit,
    }
}

/// The bytes that their length stands before.
fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let whole = *bytes;
    // It checks that so many are there.
    skip_field(
        WireType::LengthDelimited,
        1,
        bytes,
        DecodeContext::default(),
    )?;
    let taken = whole.len() - bytes.len();
    let mut part = whole.get(..taken).unwrap_or_default();
    decode_varint(&mut part)?;
    Ok(part)
}

/// A time as the registry has it. What is no time stays one that the registry refuses.
fn read_time(bytes: &mut &[u8]) -> Result<String, DecodeError> {
    let mut part = delimited(bytes)?;
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    while !part.is_empty() {
        let (number, wire_type) = decode_key(&mut part)?;
        let context = DecodeContext::default();
        match number {
            1 => encoding::int64::merge(wire_type, &mut seconds, &mut part, context)?,
            2 => encoding::int32::merge(wire_type, &mut nanos, &mut part, context)?,
            _ => skip_field(wire_type, number, &mut part, context)?,
        }
    }
    let time = u32::try_from(nanos)
        .ok()
        .and_then(|nanos| DateTime::from_timestamp(seconds, nanos));
    Ok(match time {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{seconds} s and {nanos} ns since 1970"),
    })
}

/// The bytes of a message. Keys of the object that no field has are left out.
pub(super) fn encode(message: &Message, object: &Object) -> Result<Vec<u8>, Unwritable> {
    let mut bytes = Vec::new();
    for field in &message.fields {
        match object.get(field.name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(values)) if field.label == Label::Repeated => {
                for value in values {
                    write(field, value, &mut bytes)?;
                }
            }
            Some(value) => write(field, value, &mut bytes)?,
        }
    }
    Ok(bytes)
}

fn write(field: &MessageField, value: &Value, bytes: &mut Vec<u8>) -> Result<(), Unwritable> {
    let unwritable = || Unwritable {
        field: field.name,
        value: value.to_string(),
    };
    let number = field.number;
    match (&field.shape, value) {
        (Shape::Text, Value::String(text)) => encoding::string::encode(number, text, bytes),
        (Shape::Whole | Shape::Small, Value::Number(whole)) => {
            let whole = whole.as_i64().ok_or_else(unwritable)?;
            encoding::int64::encode(number, &whole, bytes);
        }
        (Shape::Number, Value::Number(value)) => {
            let value = value.as_f64().ok_or_else(unwritable)?;
            encoding::double::encode(number, &value, bytes);
        }
        (Shape::Bool, Value::Bool(value)) => encoding::bool::encode(number, value, bytes),
        (Shape::Time, Value::String(text)) => {
            let time = parse_time(text).ok_or_else(unwritable)?;
            let mut part = Vec::new();
            // As every writer of messages does, what is 0 is left out.
            if time.timestamp() != 0 {
                encoding::int64::encode(1, &time.timestamp(), &mut part);
            }
            if time.timestamp_subsec_nanos() != 0 {
                let nanos = u64::from(time.timestamp_subsec_nanos());
                encode_key(2, WireType::Varint, &mut part);
                encode_varint(nanos, &mut part);
            }
            message_field(number, &part, bytes);
        }
        (Shape::Message(inner), Value::Object(object)) => {
            message_field(number, &encode(inner, object)?, bytes);
        }
        _ => return Err(unwritable()),
    }
    Ok(())
}
