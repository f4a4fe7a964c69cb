//! The answers of an agent of SNMP that has these objects.

use crate::source::SnmpObjects;
use crate::source::snmp_message::{
    Binding, Head, NO_SUCH_NAME, Oid, Pdu, Value, Version, response,
};

/// Objects that one GETBULK is answered with.
const MOST_REPETITIONS: usize = 50;

/// An object with a whole number.
pub fn object(oid: &str, value: i64) -> Option<Binding> {
    let oid = Oid::parse(oid).ok()?;
    let value = Value::Integer(value);
    Some(Binding { oid, value })
}

/// When the device was started, as every agent says it.
pub fn uptime(seconds: u64) -> Option<Binding> {
    let oid = Oid::parse("1.3.6.1.2.1.1.3.0").ok()?;
    let value = Value::Unsigned(seconds * 100);
    Some(Binding { oid, value })
}

/// What asking for these finds; the objects are in order.
pub fn select(objects: &[Binding], wanted: &SnmpObjects) -> Vec<Binding> {
    match wanted {
        SnmpObjects::Single(oids) => oids.iter().map(|oid| find(objects, oid)).collect(),
        SnmpObjects::Below(prefix, most) => {
            let below = objects.iter().filter(|one| one.oid.after(prefix).is_some());
            below.take(*most).cloned().collect()
        }
    }
}

fn find(objects: &[Binding], oid: &Oid) -> Binding {
    let found = objects.iter().find(|one| one.oid == *oid);
    found.cloned().unwrap_or_else(|| Binding {
        oid: oid.clone(),
        value: Value::Missing,
    })
}

/// The answer to a request that reads.
pub fn answer(objects: &[Binding], head: &Head, pdu: &Pdu) -> Vec<u8> {
    let after = |oid: &Oid| {
        let next = objects.iter().find(|one| one.oid > *oid);
        next.cloned().unwrap_or_else(|| Binding {
            oid: oid.clone(),
            value: Value::EndOfView,
        })
    };
    let found: Vec<Binding> = match pdu {
        Pdu::Get(oids) => oids.iter().map(|oid| find(objects, oid)).collect(),
        Pdu::GetNext(oids) => oids.iter().map(after).collect(),
        Pdu::GetBulk(oid, count) => {
            let count = usize::try_from(*count).unwrap_or(MOST_REPETITIONS);
            let rest = objects.iter().filter(|one| one.oid > *oid).cloned();
            let mut rest: Vec<Binding> = rest.take(count.min(MOST_REPETITIONS)).collect();
            if rest.len() < count {
                rest.push(after(rest.last().map_or(oid, |one| &one.oid)));
            }
            rest
        }
        Pdu::Set(oid, number) => vec![Binding {
            oid: oid.clone(),
            value: Value::Integer(*number),
        }],
    };
    // v1 has no word for an object that is not there.
    let lacks = |one: &Binding| matches!(one.value, Value::Missing | Value::EndOfView);
    match found.iter().position(lacks) {
        Some(place) if head.version == Version::V1 => {
            response(head, [NO_SUCH_NAME, place as i64 + 1], &found)
        }
        _ => response(head, [0, 0], &found),
    }
}
