//! Base58Check as Bitcoin writes it: one big number in base 58, with four bytes of SHA-256d as its
//! checksum.

use super::AddressError;
use crate::chain::bitcoin::sha256d::sha256d;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const CHECKSUM_LEN: usize = 4;
/// A version and a 20-byte hash.
const PAYLOAD_LEN: usize = 21;
/// The longest text of 25 bytes.
pub(super) const MAX_TEXT: usize = 35;

/// The version byte and the hash behind it.
pub(super) fn decode(text: &str) -> Result<(u8, [u8; 20]), AddressError> {
    let bytes = digits(text).ok_or(AddressError::Encoding)?;
    let Some((payload, checksum)) = bytes.split_last_chunk::<CHECKSUM_LEN>() else {
        return Err(AddressError::Length);
    };
    if sha256d(&[payload])[..CHECKSUM_LEN] != *checksum {
        return Err(AddressError::Checksum);
    }
    match payload.split_first() {
        Some((version, hash)) if payload.len() == PAYLOAD_LEN => {
            Ok((*version, hash.try_into().map_err(|_| AddressError::Length)?))
        }
        _ => Err(AddressError::Length),
    }
}

/// The big number as bytes; each leading `1` is a zero byte of its own.
fn digits(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    // Little-endian while it grows.
    let mut number: Vec<u8> = Vec::with_capacity(PAYLOAD_LEN + CHECKSUM_LEN);
    for character in text.bytes() {
        let mut carry = ALPHABET.iter().position(|letter| *letter == character)? as u32;
        for byte in &mut number {
            let next = u32::from(*byte) * 58 + carry;
            *byte = next as u8;
            carry = next >> 8;
        }
        if carry > 0 {
            number.push(carry as u8);
        }
    }
    number.extend(
        text.bytes()
            .take_while(|character| *character == b'1')
            .map(|_| 0),
    );
    number.reverse();
    Some(number)
}
