//! Base58Check addresses: a version byte, a 20-byte hash and four bytes of SHA-256d as checksum.

use base58ck::Error;

use super::AddressError;

/// The longest text of 25 bytes.
pub(super) const MAX_TEXT: usize = 35;

/// The version byte and the hash behind it.
pub(super) fn decode(text: &str) -> Result<(u8, [u8; 20]), AddressError> {
    // Decoding takes time by the square of the length; nothing longer is an address.
    if text.len() > MAX_TEXT {
        return Err(AddressError::Encoding);
    }
    let payload = base58ck::decode_check(text).map_err(|error| match error {
        Error::IncorrectChecksum(_) => AddressError::Checksum,
        Error::TooShort(_) => AddressError::Length,
        _ => AddressError::Encoding,
    })?;
    let (version, hash) = payload.split_first().ok_or(AddressError::Length)?;
    Ok((*version, hash.try_into().map_err(|_| AddressError::Length)?))
}
