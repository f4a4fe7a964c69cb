//! Tests of snmp_message: messages there and back, and rubbish.

#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn oid(text: &str) -> Oid {
    Oid::parse(text).unwrap()
}

#[test]
fn a_request_has_the_bytes_of_the_standard() {
    // As `snmpget -v1 -c public host 1.3.6.1.2.1.1.3.0` sends it, with the request id 1.
    let pdu = Pdu::Get(vec![oid("1.3.6.1.2.1.1.3.0")]);
    let bytes = request(Version::V1, "public", 1, &pdu);
    let expected = "302602010004067075626c6963a019020101020100020100300e300c06082b0601020101\
                    03000500";
    assert_eq!(hex::encode(bytes), expected);
    // As `snmpbulkget -v2c -Cr20 -c public host 1.3.6.1.2.1.2.2` does.
    let bytes = request(
        Version::V2c,
        "public",
        1,
        &Pdu::GetBulk(oid("1.3.6.1.2.1.2.2"), 20),
    );
    let expected = "302502010104067075626c6963a518020101020100020114300d300b06072b06010201020205\
                    00";
    assert_eq!(hex::encode(bytes), expected);
}

#[test]
fn large_numbers_of_an_identifier_take_several_bytes() {
    for (text, bytes) in [
        ("1.3.6.1.4.1.13742.6", vec![0x2B, 6, 1, 4, 1, 0xEB, 0x2E, 6]),
        ("1.3.4294967295", vec![0x2B, 0x8F, 0xFF, 0xFF, 0xFF, 0x7F]),
        ("2.39.0", vec![119, 0]),
    ] {
        assert_eq!(ber::oid(&oid(text).0), bytes, "{text}");
        assert_eq!(Oid(ber::oid_numbers(&bytes).unwrap()).to_string(), text);
    }
    for wrong in ["", "1", "3.1", "1.40", "1.3.x", "1.3.4294967296", "1..3"] {
        assert!(Oid::parse(wrong).is_err(), "{wrong}");
    }
    for wrong in [
        &[][..],
        &[200],
        &[43, 0x80],
        &[43, 0x90, 0x80, 0x80, 0x80, 0],
    ] {
        assert!(ber::oid_numbers(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn what_is_no_number_is_none_and_never_zero() {
    for (tag, content) in [
        (NULL, &b""[..]),
        (NO_SUCH_OBJECT, b""),
        (NO_SUCH_INSTANCE, b""),
        (END_OF_VIEW, b""),
        (OCTETS, b""),
        (OCTETS, b"n/a"),
        (OCTETS, b"\xFF"),
        (OID, b"\x2B\x06"),
        (OPAQUE, b"\x9F\x78\x04\x7F\xC0\x00\x00"),
        (OPAQUE, b"\x9F\x78\x04\x7F"),
    ] {
        let value = Value::read(tag, content).unwrap();
        assert_eq!(value.number(), None, "{tag:#x} {content:?}");
    }
    for (tag, content, number) in [
        (INTEGER, &b"\xFF"[..], -1.0),
        (GAUGE32, b"\x00\xFF\xFF\xFF\xFF", 4_294_967_295.0),
        // Without the zero byte, as some devices send it.
        (COUNTER32, b"\xFF\xFF\xFF\xFF", 4_294_967_295.0),
        (COUNTER64, b"\x01\x00\x00\x00\x00", 4_294_967_296.0),
        (TIME_TICKS, b"\x64", 100.0),
        (OCTETS, b" 23.5 ", 23.5),
        (OPAQUE, b"\x9F\x78\x04\x41\xBC\x00\x00", 23.5),
    ] {
        let value = Value::read(tag, content).unwrap();
        assert_eq!(value.number(), Some(number), "{tag:#x} {content:?}");
    }
    for (tag, content) in [
        (INTEGER, &b""[..]),
        (INTEGER, &[1; 9]),
        (COUNTER64, &[1; 9]),
    ] {
        assert!(Value::read(tag, content).is_err());
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Unsigned),
        (-1e300..1e300).prop_map(Value::Float),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Octets),
        Just(Value::Null),
        Just(Value::Missing),
        Just(Value::EndOfView),
    ]
}

fn some_bindings() -> impl Strategy<Value = Vec<Binding>> {
    let numbers = prop::collection::vec(any::<u32>(), 0..20);
    let binding = (numbers, value()).prop_map(|(numbers, value)| Binding {
        oid: oid("1.3").with(&numbers),
        value,
    });
    prop::collection::vec(binding, 0..20)
}

fn head(id: i32, community: &str) -> Head {
    Head {
        version: Version::V2c,
        community: community.as_bytes().to_vec(),
        id,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        id in 0_i32.., number: i64, count in 0_u32..1_000, community in "[a-z]{0,300}",
        bindings in some_bindings(),
    ) {
        let oids: Vec<Oid> = bindings.iter().map(|one| one.oid.clone()).collect();
        let one = oid("1.3.6.1.4.1.318.1");
        for pdu in [
            Pdu::Get(oids.clone()), Pdu::GetNext(oids), Pdu::GetBulk(one.clone(), count),
            Pdu::Set(one, number),
        ] {
            let bytes = request(Version::V2c, &community, id, &pdu);
            prop_assert_eq!(received(&bytes).unwrap(), (head(id, &community), pdu));
        }
        let bytes = response(&head(id, &community), [2, 1], &bindings);
        let expected = Answer { id, error: 2, error_index: 1, bindings };
        prop_assert_eq!(answer(&bytes).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_an_answer_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        answer(&bytes).ok();
        received(&bytes).ok();
        bindings(&bytes).ok();
    }

    #[test]
    fn a_changed_answer_is_an_answer_or_refused(
        bindings in some_bindings(), at: usize, byte: u8, end: usize,
    ) {
        let mut bytes = response(&head(5, "private"), [0, 0], &bindings);
        let length = bytes.len();
        bytes[at % length] = byte;
        answer(&bytes).ok();
        answer(&bytes[..end % length]).ok();
    }
}
