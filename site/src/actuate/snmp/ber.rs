//! As much of SNMP (RFC 1157, RFC 3416) and its encoding (BER, X.690) as a GET and a SET of one
//! integer need. Pure; every byte that comes is checked against what is left.

use serde::Deserialize;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const GET: u8 = 0xA0;
const RESPONSE: u8 = 0xA2;
const SET: u8 = 0xA3;
/// Numbers of an object identifier (RFC 3416 allows 128).
const MOST_NUMBERS: usize = 128;

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

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pdu {
    /// The value.
    Get,
    /// Another value.
    Set(i64),
}

/// An answer with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the request.
    pub request_id: i32,
    /// Zero when there is none.
    pub error: i64,
    /// The object, encoded.
    pub oid: Vec<u8>,
    /// Its value, if it is an integer.
    pub integer: Option<i64>,
}

/// An object identifier, encoded, without tag and length. The error says what is wrong.
pub fn oid(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{text:?} is no object identifier such as 1.3.6.1.4.1.318");
    let numbers = text.trim_start_matches('.').split('.');
    let numbers: Option<Vec<u32>> = numbers.map(|number| number.parse().ok()).collect();
    let numbers = numbers.filter(|all| (2..=MOST_NUMBERS).contains(&all.len()));
    let numbers = numbers.ok_or_else(wrong)?;
    if numbers[0] > 2 || numbers[1] > 39 {
        return Err(wrong());
    }
    let mut bytes = vec![(numbers[0] * 40 + numbers[1]) as u8];
    for number in &numbers[2..] {
        let groups = (0..5)
            .rev()
            .map(|group| (number >> (7 * group)) as u8 & 0x7F);
        let mut groups: Vec<u8> = groups.skip_while(|group| *group == 0).collect();
        if groups.is_empty() {
            groups.push(0);
        }
        let last = groups.len() - 1;
        for group in &mut groups[..last] {
            *group |= 0x80;
        }
        bytes.extend(groups);
    }
    Ok(bytes)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len();
    match length {
        0..=127 => bytes.push(length as u8),
        128..=255 => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(content);
    bytes
}

/// The fewest bytes of a number in two's complement.
fn integer(number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let is_sign = |pair: &[u8]| matches!((pair[0], pair[1] & 0x80), (0, 0) | (0xFF, 0x80));
    let skipped = bytes.windows(2).take_while(|pair| is_sign(pair)).count();
    element(INTEGER, &bytes[skipped..])
}

/// A whole message.
pub fn message(version: Version, community: &str, id: i32, oid: &[u8], pdu: Pdu) -> Vec<u8> {
    let (tag, value) = match pdu {
        Pdu::Get => (GET, element(NULL, &[])),
        Pdu::Set(number) => (SET, integer(number)),
    };
    let binding = element(SEQUENCE, &[element(OID, oid), value].concat());
    let bindings = element(SEQUENCE, &binding);
    let pdu = [integer(i64::from(id)), integer(0), integer(0), bindings].concat();
    let version = integer(i64::from(version == Version::V2c));
    let whole = [
        version,
        element(OCTETS, community.as_bytes()),
        element(tag, &pdu),
    ]
    .concat();
    element(SEQUENCE, &whole)
}

/// Takes an element off the front: its tag, its content and what follows.
fn take(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), String> {
    let cut = || "the answer breaks off".to_owned();
    let (tag, rest) = bytes.split_first().ok_or_else(cut)?;
    let (first, rest) = rest.split_first().ok_or_else(cut)?;
    let (length, rest) = match first {
        0..=127 => (usize::from(*first), rest),
        // Answers fit into a datagram, so two bytes of length are enough.
        0x81 | 0x82 => {
            let (bytes, rest) = rest
                .split_at_checked(usize::from(first & 0x7F))
                .ok_or_else(cut)?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return Err("the answer has a length that cannot be".to_owned()),
    };
    let (content, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((*tag, content, rest))
}

fn expect(tag: u8, bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (found, content, rest) = take(bytes)?;
    match found == tag {
        true => Ok((content, rest)),
        false => Err(format!(
            "the answer has the tag {found:#04x} instead of {tag:#04x}"
        )),
    }
}

fn number(content: &[u8]) -> Result<i64, String> {
    if content.is_empty() || content.len() > 8 {
        return Err("the answer has a number that is too long".to_owned());
    }
    let sign = if content[0] & 0x80 == 0 { 0 } else { -1 };
    Ok(content
        .iter()
        .fold(sign, |sum, byte| sum << 8 | i64::from(*byte)))
}

/// Reads an answer.
pub fn answer(bytes: &[u8]) -> Result<Answer, String> {
    let (whole, _) = expect(SEQUENCE, bytes)?;
    let (_, rest) = expect(INTEGER, whole)?;
    let (_, rest) = expect(OCTETS, rest)?;
    let (pdu, _) = expect(RESPONSE, rest)?;
    let (id, rest) = expect(INTEGER, pdu)?;
    let (error, rest) = expect(INTEGER, rest)?;
    let (_, rest) = expect(INTEGER, rest)?;
    let (bindings, _) = expect(SEQUENCE, rest)?;
    let (binding, _) = expect(SEQUENCE, bindings)?;
    let (oid, rest) = expect(OID, binding)?;
    let (tag, value, _) = take(rest)?;
    Ok(Answer {
        request_id: i32::try_from(number(id)?).map_err(|_| "the request id is too large")?,
        error: number(error)?,
        oid: oid.to_vec(),
        integer: match tag {
            INTEGER => Some(number(value)?),
            _ => None,
        },
    })
}

/// What an error means.
pub fn error_name(error: i64) -> &'static str {
    match error {
        1 => "the answer is too big",
        2 => "there is no such object",
        3 | 10 => "that value cannot be",
        4 | 17 => "it cannot be written",
        6 => "no access; is this the community for writing?",
        7 => "the type is wrong",
        _ => "a general error",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_has_the_bytes_of_the_standard() {
        // As `snmpget -v1 -c public host 1.3.6.1.2.1.1.3.0` sends it, with the request id 1.
        let oid = oid("1.3.6.1.2.1.1.3.0").unwrap();
        let bytes = message(Version::V1, "public", 1, &oid, Pdu::Get);
        let expected = "302602010004067075626c6963a019020101020100020100300e300c06082b0601020101\
                        03000500";
        assert_eq!(hex::encode(bytes), expected);
    }

    #[test]
    fn large_numbers_of_an_identifier_take_several_bytes() {
        assert_eq!(
            oid("1.3.6.1.4.1.13742.6").unwrap(),
            [0x2B, 6, 1, 4, 1, 0xEB, 0x2E, 6]
        );
        assert_eq!(
            oid("1.3.4294967295").unwrap(),
            [0x2B, 0x8F, 0xFF, 0xFF, 0xFF, 0x7F]
        );
        for wrong in ["", "1", "3.1", "1.40", "1.3.x", "1.3.4294967296", "1..3"] {
            assert!(oid(wrong).is_err(), "{wrong}");
        }
    }

    /// What a device answers to a request, with this value.
    fn answered(request: &[u8], value: &[u8]) -> Vec<u8> {
        let (whole, _) = expect(SEQUENCE, request).unwrap();
        let (_, rest) = expect(INTEGER, whole).unwrap();
        let (_, pdu) = expect(OCTETS, rest).unwrap();
        let head = &whole[..whole.len() - pdu.len()];
        let (_, content, _) = take(pdu).unwrap();
        let (id, rest) = expect(INTEGER, content).unwrap();
        let (_, rest) = expect(INTEGER, rest).unwrap();
        let (_, rest) = expect(INTEGER, rest).unwrap();
        let (bindings, _) = expect(SEQUENCE, rest).unwrap();
        let (binding, _) = expect(SEQUENCE, bindings).unwrap();
        let (oid, _) = expect(OID, binding).unwrap();
        let binding = element(SEQUENCE, &[element(OID, oid), value.to_vec()].concat());
        let ids = [element(INTEGER, id), integer(0), integer(0)].concat();
        let pdu = [ids, element(SEQUENCE, &binding)].concat();
        element(SEQUENCE, &[head.to_vec(), element(RESPONSE, &pdu)].concat())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(id in 0_i32.., value: i64, community in "[a-z]{0,300}") {
            let oid = oid("1.3.6.1.4.1.318.1").unwrap();
            let request = message(Version::V2c, &community, id, &oid, Pdu::Set(value));
            let read = answer(&answered(&request, &integer(value))).unwrap();
            prop_assert_eq!(read, Answer { request_id: id, error: 0, oid, integer: Some(value) });
        }

        #[test]
        fn any_bytes_are_an_answer_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            answer(&bytes).ok();
        }

        #[test]
        fn a_changed_answer_is_an_answer_or_refused(
            at in 0_usize..60, byte: u8, end in 0_usize..60,
        ) {
            let oid = oid("1.3.6.1.4.1.318.1").unwrap();
            let request = message(Version::V2c, "private", 5, &oid, Pdu::Get);
            let mut bytes = answered(&request, &integer(1));
            let length = bytes.len();
            bytes[at % length] = byte;
            answer(&bytes).ok();
            answer(&bytes[..end % length]).ok();
        }
    }
}
