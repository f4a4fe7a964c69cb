//! Packets of MQTT 3.1.1 (OASIS, 2014): those that somebody needs who subscribes with the quality
//! of service 0, and who serves such a subscriber. Pure.
//!
//! Why not rumqttc 0.25: its TLS brings a second rustls-webpki (0.102) and rustls-pemfile, which
//! nobody maintains; without TLS it brings 3 crates, and changes the features of fixedbitset, which
//! stands below petgraph and so below DataFusion. What is left of it then are these packets.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
/// The subscription was refused.
pub const REFUSED: u8 = 0x80;

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Who connects.
    Connect(Connect),
    /// Zero, or why not.
    ConnAck(u8),
    /// A message.
    Publish(Publish),
    /// A number, and the topics that are wanted.
    Subscribe(u16, Vec<String>),
    /// The same number, and the answer for each topic.
    SubAck(u16, Vec<u8>),
    /// Is anybody there?
    PingReq,
    /// Yes.
    PingResp,
    /// The end.
    Disconnect,
}

/// Who connects; every session is a new one.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Unique at the broker.
    pub client_id: String,
    /// Seconds after which a silent connection is dead.
    pub keep_alive_s: u16,
    /// User and password.
    pub login: Option<(String, String)>,
}

// A password is never part of a log line.
impl std::fmt::Debug for Connect {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Connect as {:?}", self.client_id)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where it was published.
    pub topic: String,
    /// Whether it was published before the subscription, nobody says when.
    pub is_retained: bool,
    /// What.
    pub payload: Bytes,
}

/// Why bytes are no packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketError {
    /// It is longer than it may be.
    TooLong,
    /// It cannot be read.
    Malformed(&'static str),
}

use PacketError::Malformed;

impl Packet {
    /// Takes a packet off the front; none while it is not there as a whole.
    pub fn take(bytes: &mut BytesMut, most: usize) -> Result<Option<Self>, PacketError> {
        let Some((head, length)) = head(bytes)? else {
            return Ok(None);
        };
        if length > most {
            return Err(PacketError::TooLong);
        }
        if bytes.len() < head + length {
            return Ok(None);
        }
        let first = bytes[0];
        bytes.advance(head);
        let mut body = bytes.split_to(length).freeze();
        let packet = match first >> 4 {
            CONNECT => connect(&mut body)?,
            CONNACK if body.len() >= 2 => Self::ConnAck(body[1]),
            PUBLISH if first & 0b0110 != 0 => {
                return Err(Malformed(
                    "a message has a quality of service that nobody wanted",
                ));
            }
            PUBLISH => Self::Publish(Publish {
                topic: text(&mut body)?,
                is_retained: first & 1 == 1,
                payload: std::mem::take(&mut body),
            }),
            SUBSCRIBE => {
                let id = number(&mut body)?;
                let mut topics = Vec::new();
                while !body.is_empty() {
                    topics.push(text(&mut body)?);
                    body.try_get_u8().map_err(|_| CUT)?;
                }
                Self::Subscribe(id, topics)
            }
            SUBACK => Self::SubAck(number(&mut body)?, body.to_vec()),
            PINGREQ => Self::PingReq,
            PINGRESP => Self::PingResp,
            DISCONNECT => Self::Disconnect,
            _ => return Err(Malformed("a packet is of a kind that nobody wanted")),
        };
        Ok(Some(packet))
    }

    /// Its bytes. Texts longer than 65535 bytes are cut off; configurations have none.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let first = match self {
            Self::Connect(connect) => {
                put_text(&mut body, "MQTT");
                let flags = 0b10
                    | if connect.login.is_some() {
                        0b1100_0000
                    } else {
                        0
                    };
                body.extend([4, flags]);
                body.put_u16(connect.keep_alive_s);
                put_text(&mut body, &connect.client_id);
                if let Some((user, password)) = &connect.login {
                    put_text(&mut body, user);
                    put_text(&mut body, password);
                }
                CONNECT << 4
            }
            Self::ConnAck(code) => {
                body.extend([0, *code]);
                CONNACK << 4
            }
            Self::Publish(publish) => {
                put_text(&mut body, &publish.topic);
                body.extend_from_slice(&publish.payload);
                PUBLISH << 4 | u8::from(publish.is_retained)
            }
            Self::Subscribe(id, topics) => {
                body.put_u16(*id);
                for topic in topics {
                    put_text(&mut body, topic);
                    body.push(0);
                }
                SUBSCRIBE << 4 | 0b10
            }
            Self::SubAck(id, codes) => {
                body.put_u16(*id);
                body.extend_from_slice(codes);
                SUBACK << 4
            }
            Self::PingReq => PINGREQ << 4,
            Self::PingResp => PINGRESP << 4,
            Self::Disconnect => DISCONNECT << 4,
        };
        let mut bytes = vec![first];
        let mut length = body.len();
        loop {
            let seven = (length & 0x7F) as u8;
            length >>= 7;
            bytes.push(if length > 0 { seven | 0x80 } else { seven });
            if length == 0 {
                break;
            }
        }
        bytes.append(&mut body);
        bytes
    }
}

/// Bytes of the fixed header, and of what follows.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize)>, PacketError> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((2 + index, length)));
        }
    }
    match bytes.len() > 4 {
        true => Err(Malformed("a packet has a length that cannot be")),
        false => Ok(None),
    }
}

const CUT: PacketError = Malformed("a packet breaks off");

fn number(body: &mut Bytes) -> Result<u16, PacketError> {
    body.try_get_u16().map_err(|_| CUT)
}

fn text(body: &mut Bytes) -> Result<String, PacketError> {
    let length = usize::from(number(body)?);
    if body.len() < length {
        return Err(CUT);
    }
    let bytes = body.split_to(length);
    let text = std::str::from_utf8(&bytes).map_err(|_| Malformed("a text is no UTF-8"))?;
    Ok(text.to_owned())
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    body.put_u16(text.len() as u16);
    body.extend_from_slice(text.as_bytes());
}

fn connect(body: &mut Bytes) -> Result<Packet, PacketError> {
    if text(body)? != "MQTT" || body.try_get_u8() != Ok(4) {
        return Err(Malformed("the client speaks another version"));
    }
    let flags = body.try_get_u8().map_err(|_| CUT)?;
    let keep_alive_s = number(body)?;
    let client_id = text(body)?;
    if flags & 0b0011_1100 != 0 {
        return Err(Malformed("the client has a last will"));
    }
    let login = match flags >> 6 {
        0b11 => Some((text(body)?, text(body)?)),
        _ => None,
    };
    Ok(Packet::Connect(Connect {
        client_id,
        keep_alive_s,
        login,
    }))
}

/// The newest message of a topic, as a session keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// When it came, in microseconds since 1970; zero where nobody knows.
    pub at_us: i64,
    /// Whether nobody took it yet.
    pub is_new: bool,
    /// The message.
    pub publish: Publish,
}

/// Messages one after the other.
pub fn stored_bytes(messages: &[Stored]) -> Bytes {
    let mut bytes = BytesMut::new();
    for message in messages {
        bytes.put_i64(message.at_us);
        bytes.put_u8(u8::from(message.is_new));
        bytes.extend_from_slice(&Packet::Publish(message.publish.clone()).bytes());
    }
    bytes.freeze()
}

/// Reads such messages.
pub fn stored(bytes: &[u8]) -> Result<Vec<Stored>, String> {
    let wrong = || "the messages cannot be read".to_owned();
    let mut bytes = BytesMut::from(bytes);
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let at_us = bytes.try_get_i64().map_err(|_| wrong())?;
        let is_new = bytes.try_get_u8().map_err(|_| wrong())? == 1;
        match Packet::take(&mut bytes, usize::MAX) {
            Ok(Some(Packet::Publish(publish))) => found.push(Stored {
                at_us,
                is_new,
                publish,
            }),
            _ => return Err(wrong()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_have_the_bytes_of_the_standard() {
        let connect = Packet::Connect(Connect {
            client_id: "a".to_owned(),
            keep_alive_s: 10,
            login: Some(("u".to_owned(), "p".to_owned())),
        });
        let expected = b"\x10\x13\x00\x04MQTT\x04\xC2\x00\x0A\x00\x01a\x00\x01u\x00\x01p";
        assert_eq!(connect.bytes(), expected);
        let subscribe = Packet::Subscribe(10, vec!["a/b".to_owned()]);
        assert_eq!(subscribe.bytes(), b"\x82\x08\x00\x0A\x00\x03a/b\x00");
        assert_eq!(Packet::PingReq.bytes(), b"\xC0\x00");
    }

    #[test]
    fn what_nobody_wanted_or_is_too_long_is_refused() {
        for (bytes, error) in [
            (&b"\x32\x05\x00\x01a\x00\x01"[..], "quality"),
            (b"\x40\x02\x00\x01", "of a kind"),
            (b"\x30\xFF\xFF\xFF\xFF\x01", "length"),
            (b"\x30\x02\x00\x05", "breaks off"),
            (b"\x30\x03\x00\x01\xFF", "UTF-8"),
        ] {
            let taken = Packet::take(&mut BytesMut::from(bytes), 1_000);
            let Err(Malformed(reason)) = taken else {
                panic!("{bytes:?}: {taken:?}");
            };
            assert!(reason.contains(error), "{reason}");
        }
        // Refused by its length alone, before the rest has come.
        let taken = Packet::take(&mut BytesMut::from(&b"\x30\xE9\x07"[..]), 1_000);
        assert_eq!(taken, Err(PacketError::TooLong));
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let payload = prop::collection::vec(any::<u8>(), 0..400);
        let publish = ("[a-z/]{0,20}", any::<bool>(), payload);
        prop_oneof![
            any::<u8>().prop_map(Packet::ConnAck),
            publish.prop_map(|(topic, is_retained, payload)| Packet::Publish(Publish {
                topic,
                is_retained,
                payload: payload.into(),
            })),
            (any::<u16>(), prop::collection::vec("[a-z/]{0,20}", 0..9))
                .prop_map(|(id, topics)| Packet::Subscribe(id, topics)),
            (any::<u16>(), prop::collection::vec(any::<u8>(), 0..9))
                .prop_map(|(id, codes)| Packet::SubAck(id, codes)),
            (
                "[a-z]{0,9}",
                any::<u16>(),
                prop::option::of(("[a-z]{0,9}", "[a-z]{0,9}"))
            )
                .prop_map(|(client_id, keep_alive_s, login)| Packet::Connect(
                    Connect {
                        client_id,
                        keep_alive_s,
                        login,
                    }
                )),
            Just(Packet::PingReq),
            Just(Packet::PingResp),
            Just(Packet::Disconnect),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_comes(packet in packet(), cut: usize) {
            let whole = packet.bytes();
            let mut bytes = BytesMut::from(&whole[..cut % whole.len()]);
            prop_assert_eq!(Packet::take(&mut bytes, 10_000), Ok(None));
            let mut bytes = BytesMut::from(whole.as_slice());
            bytes.extend_from_slice(b"rest");
            prop_assert_eq!(Packet::take(&mut bytes, 10_000), Ok(Some(packet)));
            prop_assert_eq!(bytes, &b"rest"[..]);
        }

        #[test]
        fn any_bytes_are_packets_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80), first: u8,
        ) {
            let mut all = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = Packet::take(&mut all, 1_000) {}
            if let Some(byte) = all.first_mut() {
                *byte = first;
            }
            Packet::take(&mut all, 1_000).ok();
            stored(&bytes).ok();
        }
    }
}
