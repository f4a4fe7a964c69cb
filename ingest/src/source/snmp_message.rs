//! Messages of SNMP v1 and v2c (RFC 1157, RFC 3416): requests, answers and the objects in them.
//! Pure, for those who ask as for the simulated device that answers.
//!
//! Why not snmp2 0.5.3: it brings 3 crates, and changes the features of displaydoc, which stands
//! below url and so below DataFusion; everything would be compiled twice or anew.

use std::fmt;

use serde::Deserialize;

use super::json;

mod ber;
#[cfg(test)]
mod tests;

use ber::{INTEGER, NULL, OCTETS, OID, SEQUENCE, element, expect, take};

const COUNTER32: u8 = 0x41;
const GAUGE32: u8 = 0x42;
const TIME_TICKS: u8 = 0x43;
const OPAQUE: u8 = 0x44;
const COUNTER64: u8 = 0x46;
const NO_SUCH_OBJECT: u8 = 0x80;
const NO_SUCH_INSTANCE: u8 = 0x81;
const END_OF_VIEW: u8 = 0x82;
const GET: u8 = 0xA0;
const GET_NEXT: u8 = 0xA1;
const RESPONSE: u8 = 0xA2;
const SET: u8 = 0xA3;
const GET_BULK: u8 = 0xA5;
/// Objects of one message.
const MOST_BINDINGS: usize = 10_000;

/// The version of the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// SNMP v1.
    #[serde(rename = "1")]
    V1,
    /// SNMP v2c.
    #[default]
    #[serde(rename = "2c")]
    V2c,
}

/// An object identifier; they are ordered as a device walks through its objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(Vec<u32>);

impl Oid {
    /// Reads `1.3.6.1…`; a dot may stand before it. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no object identifier such as 1.3.6.1.4.1.318");
        let numbers = text.strip_prefix('.').unwrap_or(text).split('.');
        let numbers: Option<Vec<u32>> = numbers.map(|number| number.parse().ok()).collect();
        let numbers = numbers.filter(|all| (2..=ber::MOST_NUMBERS).contains(&all.len()));
        let numbers = numbers.ok_or_else(wrong)?;
        match numbers[0] <= 2 && numbers[1] <= 39 {
            true => Ok(Self(numbers)),
            false => Err(wrong()),
        }
    }

    /// What follows after this beginning.
    pub fn after(&self, prefix: &Self) -> Option<&[u32]> {
        self.0.strip_prefix(prefix.0.as_slice())
    }

    /// The same with more numbers at its end.
    pub fn with(&self, more: &[u32]) -> Self {
        Self([self.0.as_slice(), more].concat())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        out.write_str(&numbers.join("."))
    }
}

/// What an object says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// INTEGER.
    Integer(i64),
    /// Counters, gauges and times.
    Unsigned(u64),
    /// A number with a point, as Net-SNMP wraps it into Opaque.
    Float(f64),
    /// OCTET STRING.
    Octets(Vec<u8>),
    /// NULL, as in requests.
    Null,
    /// There is no such object.
    Missing,
    /// The walk is at its end.
    EndOfView,
    /// Of a type that is no reading.
    Other,
}

impl Value {
    /// The number it is, or that its text is.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Unsigned(number) => Some(*number as f64),
            Self::Float(number) => Some(*number).filter(|number| number.is_finite()),
            Self::Octets(text) => std::str::from_utf8(text).ok().and_then(json::text_number),
            _ => None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Integer(number) => ber::integer(*number),
            Self::Unsigned(number) => {
                let bytes = [&[0], number.to_be_bytes().as_slice()].concat();
                let is_zero = |pair: &[u8]| pair[0] == 0 && pair[1] & 0x80 == 0;
                let skipped = bytes.windows(2).take_while(|pair| is_zero(pair)).count();
                let tag = match u32::try_from(*number) {
                    Ok(_) => GAUGE32,
                    Err(_) => COUNTER64,
                };
                element(tag, &bytes[skipped..])
            }
            Self::Float(number) => {
                let wrapped = [&[0x9F, 0x79, 0x08], number.to_be_bytes().as_slice()].concat();
                element(OPAQUE, &wrapped)
            }
            Self::Octets(text) => element(OCTETS, text),
            Self::Null | Self::Other => element(NULL, &[]),
            Self::Missing => element(NO_SUCH_INSTANCE, &[]),
            Self::EndOfView => element(END_OF_VIEW, &[]),
        }
    }

    fn read(tag: u8, content: &[u8]) -> Result<Self, String> {
        Ok(match tag {
            INTEGER => Self::Integer(ber::number(content)?),
            COUNTER32 | GAUGE32 | TIME_TICKS | COUNTER64 => Self::Unsigned(ber::unsigned(content)?),
            OCTETS => Self::Octets(content.to_vec()),
            OPAQUE => match content {
                [0x9F, 0x78, 4, rest @ ..] => match rest.try_into() {
                    Ok(bytes) => Self::Float(f64::from(f32::from_be_bytes(bytes))),
                    Err(_) => Self::Other,
                },
                [0x9F, 0x79, 8, rest @ ..] => match rest.try_into() {
                    Ok(bytes) => Self::Float(f64::from_be_bytes(bytes)),
                    Err(_) => Self::Other,
                },
                _ => Self::Other,
            },
            NULL => Self::Null,
            NO_SUCH_OBJECT | NO_SUCH_INSTANCE => Self::Missing,
            END_OF_VIEW => Self::EndOfView,
            _ => Self::Other,
        })
    }
}

/// An object and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The object.
    pub oid: Oid,
    /// What it says.
    pub value: Value,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Pdu {
    /// The values of these objects.
    Get(Vec<Oid>),
    /// The object after each of these.
    GetNext(Vec<Oid>),
    /// So many objects after this one; only in v2c.
    GetBulk(Oid, u32),
    /// Another value of an object.
    Set(Oid, i64),
}

/// A whole request.
pub fn request(version: Version, community: &str, id: i32, pdu: &Pdu) -> Vec<u8> {
    let null = |oid: &Oid| Binding {
        oid: oid.clone(),
        value: Value::Null,
    };
    let (tag, second, bindings) = match pdu {
        Pdu::Get(oids) => (GET, 0, oids.iter().map(null).collect()),
        Pdu::GetNext(oids) => (GET_NEXT, 0, oids.iter().map(null).collect()),
        Pdu::GetBulk(oid, count) => (GET_BULK, i64::from(*count), vec![null(oid)]),
        Pdu::Set(oid, number) => {
            let value = Value::Integer(*number);
            let oid = oid.clone();
            (SET, 0, vec![Binding { oid, value }])
        }
    };
    let head = Head {
        version,
        community: community.as_bytes().to_vec(),
        id,
    };
    message(&head, tag, [0, second], &bindings)
}

/// What requests and their answers have in common.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// The version.
    pub version: Version,
    /// Who asks.
    pub community: Vec<u8>,
    /// Of the request.
    pub id: i32,
}

// The community is never part of a log line.
impl fmt::Debug for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Head of {:?}, request {}", self.version, self.id)
    }
}

fn message(head: &Head, tag: u8, numbers: [i64; 2], bindings: &[Binding]) -> Vec<u8> {
    let pdu = [
        ber::integer(i64::from(head.id)),
        ber::integer(numbers[0]),
        ber::integer(numbers[1]),
        element(SEQUENCE, &bindings_bytes(bindings)),
    ];
    let whole = [
        ber::integer(i64::from(head.version == Version::V2c)),
        element(OCTETS, &head.community),
        element(tag, &pdu.concat()),
    ];
    element(SEQUENCE, &whole.concat())
}

/// Objects one after the other, as they stand in a message.
pub fn bindings_bytes(bindings: &[Binding]) -> Vec<u8> {
    let binding = |one: &Binding| {
        let oid = element(OID, &ber::oid(&one.oid.0));
        element(SEQUENCE, &[oid, one.value.bytes()].concat())
    };
    bindings.iter().flat_map(binding).collect()
}

/// Reads such objects.
pub fn bindings(mut bytes: &[u8]) -> Result<Vec<Binding>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (binding, rest) = expect(SEQUENCE, bytes)?;
        let (oid, value) = expect(OID, binding)?;
        let (tag, content, _) = take(value)?;
        found.push(Binding {
            oid: Oid(ber::oid_numbers(oid)?),
            value: Value::read(tag, content)?,
        });
        if found.len() > MOST_BINDINGS {
            return Err(format!("the answer has more than {MOST_BINDINGS} objects"));
        }
        bytes = rest;
    }
    Ok(found)
}

/// A message as it was read.
struct Message<'a> {
    head: Head,
    tag: u8,
    numbers: [i64; 2],
    bindings: &'a [u8],
}

fn read(bytes: &[u8]) -> Result<Message<'_>, String> {
    let (whole, _) = expect(SEQUENCE, bytes)?;
    let (version, rest) = expect(INTEGER, whole)?;
    let version = match ber::number(version)? {
        0 => Version::V1,
        1 => Version::V2c,
        other => return Err(format!("the message is of version {other}")),
    };
    let (community, rest) = expect(OCTETS, rest)?;
    let (tag, pdu, _) = take(rest)?;
    let (id, rest) = expect(INTEGER, pdu)?;
    let (first, rest) = expect(INTEGER, rest)?;
    let (second, rest) = expect(INTEGER, rest)?;
    let (bindings, _) = expect(SEQUENCE, rest)?;
    Ok(Message {
        head: Head {
            version,
            community: community.to_vec(),
            id: i32::try_from(ber::number(id)?).map_err(|_| "the request id is too large")?,
        },
        tag,
        numbers: [ber::number(first)?, ber::number(second)?],
        bindings,
    })
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Of the request.
    pub id: i32,
    /// Zero when there is none.
    pub error: i64,
    /// Which of the objects it is about, from 1.
    pub error_index: i64,
    /// The objects.
    pub bindings: Vec<Binding>,
}

/// Reads an answer.
pub fn answer(bytes: &[u8]) -> Result<Answer, String> {
    let message = read(bytes)?;
    if message.tag != RESPONSE {
        return Err(format!("the message is no answer but {:#04x}", message.tag));
    }
    Ok(Answer {
        id: message.head.id,
        error: message.numbers[0],
        error_index: message.numbers[1],
        bindings: bindings(message.bindings)?,
    })
}

/// Reads a request, as a device does.
pub fn received(bytes: &[u8]) -> Result<(Head, Pdu), String> {
    let message = read(bytes)?;
    let bindings = bindings(message.bindings)?;
    let mut oids = bindings.iter().map(|one| one.oid.clone());
    let pdu = match message.tag {
        GET => Pdu::Get(oids.collect()),
        GET_NEXT => Pdu::GetNext(oids.collect()),
        GET_BULK => {
            let count = u32::try_from(message.numbers[1]).unwrap_or_default();
            Pdu::GetBulk(oids.next().ok_or("the request has no object")?, count)
        }
        SET => match bindings.first().map(|one| &one.value) {
            Some(Value::Integer(number)) => {
                Pdu::Set(oids.next().ok_or("the request has no object")?, *number)
            }
            _ => return Err("only integers can be set".to_owned()),
        },
        other => return Err(format!("the message is no request but {other:#04x}")),
    };
    Ok((message.head, pdu))
}

/// The answer of a device: an error and the place of its object from 1, and the objects.
pub fn response(head: &Head, error: [i64; 2], bindings: &[Binding]) -> Vec<u8> {
    message(head, RESPONSE, error, bindings)
}

/// There is no such object (v1).
pub const NO_SUCH_NAME: i64 = 2;
/// The answer would be too long.
pub const TOO_BIG: i64 = 1;

/// What an error means.
pub fn error_name(error: i64) -> &'static str {
    match error {
        TOO_BIG => "the answer is too big",
        NO_SUCH_NAME => "there is no such object",
        3 | 10 => "that value cannot be",
        4 | 17 => "it cannot be written",
        6 => "no access; is this the community for writing?",
        7 => "the type is wrong",
        _ => "a general error",
    }
}
