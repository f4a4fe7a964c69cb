//! Segwit addresses: bech32 (BIP 173) for version 0 and bech32m (BIP 350) for all later ones.

use bech32::primitives::decode::UncheckedHrpstring;
use bech32::{Bech32, Bech32m, Fe32};

use super::AddressError;

/// A checksum and the version before it, in characters.
const LEAST_DATA: usize = 7;
const MAX_TEXT: usize = 90;
const MAX_VERSION: u8 = 16;

/// A decoded address: whose network, and what it pays to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) prefix: String,
    pub(super) version: u8,
    pub(super) program: Vec<u8>,
}

/// Reads an address of any network. The text may be all upper or all lower case.
pub(super) fn decode(text: &str) -> Result<Decoded, AddressError> {
    if text.len() > MAX_TEXT {
        return Err(AddressError::Encoding);
    }
    let read = UncheckedHrpstring::new(text).map_err(|_| AddressError::Encoding)?;
    let data = read.data_part_ascii();
    let (Some(first), true) = (data.first(), data.len() >= LEAST_DATA) else {
        return Err(AddressError::Length);
    };
    let version = Fe32::from_char(char::from(*first))
        .map_err(|_| AddressError::Encoding)?
        .to_u8();
    let is_valid = match version {
        0 => read.has_valid_checksum::<Bech32>(),
        _ => read.has_valid_checksum::<Bech32m>(),
    };
    if !is_valid {
        return Err(AddressError::Checksum);
    }
    if version > MAX_VERSION {
        let length = (data.len() - LEAST_DATA) * 5 / 8;
        return Err(AddressError::Witness(version, length));
    }
    // Both checksums are as long.
    let mut read = read.remove_checksum::<Bech32>();
    read.remove_witness_version();
    read.validate_segwit_padding()
        .map_err(|_| AddressError::Encoding)?;
    Ok(Decoded {
        prefix: read.hrp().to_lowercase(),
        version,
        program: read.byte_iter().collect(),
    })
}
