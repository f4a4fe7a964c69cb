//! Segwit addresses: bech32 (BIP 173) for version 0 and bech32m (BIP 350) for all later ones.

use super::AddressError;

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM_LEN: usize = 6;
const MAX_TEXT: usize = 90;
const BECH32: u32 = 1;
const BECH32M: u32 = 0x2bc8_30a3;

/// A decoded address: whose network, and what it pays to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) prefix: String,
    pub(super) version: u8,
    pub(super) program: Vec<u8>,
}

/// Reads an address of any network. The text may be all upper or all lower case.
pub(super) fn decode(text: &str) -> Result<Decoded, AddressError> {
    let mixed = text.bytes().any(|c| c.is_ascii_uppercase())
        && text.bytes().any(|c| c.is_ascii_lowercase());
    if text.len() > MAX_TEXT || mixed || !text.bytes().all(|c| (33..=126).contains(&c)) {
        return Err(AddressError::Encoding);
    }
    let text = text.to_ascii_lowercase();
    let (prefix, data) = text.rsplit_once('1').ok_or(AddressError::Encoding)?;
    let value = |c: u8| {
        ALPHABET
            .iter()
            .position(|letter| *letter == c)
            .map(|place| place as u8)
    };
    let data: Vec<u8> = data
        .bytes()
        .map(value)
        .collect::<Option<_>>()
        .ok_or(AddressError::Encoding)?;
    if prefix.is_empty() || data.len() < CHECKSUM_LEN + 1 {
        return Err(AddressError::Length);
    }
    let version = data[0];
    let expected = if version == 0 { BECH32 } else { BECH32M };
    if checksum(prefix, &data) != expected {
        return Err(AddressError::Checksum);
    }
    let program = bytes(&data[1..data.len() - CHECKSUM_LEN]).ok_or(AddressError::Encoding)?;
    Ok(Decoded {
        prefix: prefix.to_owned(),
        version,
        program,
    })
}

/// The checksum's polynomial over prefix and data; the constant it comes to says which of the two
/// encodings it is.
fn checksum(prefix: &str, data: &[u8]) -> u32 {
    const GENERATORS: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let high = prefix.bytes().map(|c| c >> 5);
    let low = prefix.bytes().map(|c| c & 31);
    high.chain([0])
        .chain(low)
        .chain(data.iter().copied())
        .fold(1, |sum, value| {
            let top = sum >> 25;
            let shifted = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
            let picked = GENERATORS
                .iter()
                .enumerate()
                .filter(|(bit, _)| top >> bit & 1 == 1);
            picked.fold(shifted, |sum, (_, generator)| sum ^ generator)
        })
}

/// Five-bit groups to bytes; what is left over must be zeros, and less than a group.
fn bytes(groups: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(groups.len() * 5 / 8);
    let (mut held, mut count) = (0u32, 0u32);
    for group in groups {
        held = (held << 5 | u32::from(*group)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((held >> count) as u8);
        }
    }
    let left = held & ((1 << count) - 1);
    (count < 5 && left == 0).then_some(bytes)
}
