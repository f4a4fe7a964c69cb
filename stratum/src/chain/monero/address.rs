//! Monero addresses: base58 in blocks, network prefix and the full checksum.
//!
//! An account is paid by its address for years, so a typing error must be refused at login, not
//! found at the first payout. The keys inside are not checked to be curve points; the checksum
//! already refuses what nobody generated.

use thiserror::Error;

use crate::keccak::keccak256;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// How many characters encode 0, 1, … 8 bytes.
const ENCODED_LEN: [usize; 9] = [0, 2, 3, 5, 6, 7, 9, 10, 11];
const CHECKSUM_LEN: usize = 4;
const KEYS_LEN: usize = 64;
const PAYMENT_ID_LEN: usize = 8;

/// The network an address belongs to. A regtest daemon calls itself `fakechain` and uses mainnet's
/// prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Mainnet and regtest.
    Mainnet,
    /// Stagenet.
    Stagenet,
    /// Testnet.
    Testnet,
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A primary address.
    Standard,
    /// A primary address with a payment id.
    Integrated,
    /// A subaddress.
    Subaddress,
}

/// Why a text is not an address.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// Not base58.
    #[error(
        "address has a character or length that base58 does not allow; copy it again from the \
         wallet"
    )]
    Encoding,
    /// Right letters, wrong sum.
    #[error("address checksum does not match; a character was mistyped or lost")]
    Checksum,
    /// A prefix nobody defined.
    #[error("address prefix {0} belongs to no Monero network")]
    Prefix(u8),
    /// The payload is not as long as the prefix demands.
    #[error("address is {0} bytes long, which does not fit its prefix")]
    Length(usize),
    /// Valid, elsewhere.
    #[error("address belongs to {0:?}, this pool mines {1:?}")]
    OtherNetwork(Network, Network),
    /// Valid, but not for a wallet that blocks are to pay.
    #[error(
        "a subaddress, which no block can pay: monerod makes no template for it; use the primary \
         address of the wallet"
    )]
    Subaddress,
}

impl Network {
    /// The network monerod names in `get_info.nettype`.
    pub fn from_nettype(nettype: &str) -> Option<Self> {
        match nettype {
            "mainnet" | "fakechain" => Some(Network::Mainnet),
            "stagenet" => Some(Network::Stagenet),
            "testnet" => Some(Network::Testnet),
            _ => None,
        }
    }
}

/// Reads an address and says its network and form.
pub fn parse(text: &str) -> Result<(Network, Form), AddressError> {
    let bytes = decode(text).ok_or(AddressError::Encoding)?;
    let Some(body_len) = bytes.len().checked_sub(CHECKSUM_LEN).filter(|len| *len > 0) else {
        return Err(AddressError::Length(bytes.len()));
    };
    let (body, checksum) = bytes.split_at(body_len);
    if keccak256(&[body])[..CHECKSUM_LEN] != *checksum {
        return Err(AddressError::Checksum);
    }
    let (network, form) = prefix(body[0])?;
    let keys = if form == Form::Integrated {
        KEYS_LEN + PAYMENT_ID_LEN
    } else {
        KEYS_LEN
    };
    if body_len != 1 + keys {
        return Err(AddressError::Length(bytes.len()));
    }
    Ok((network, form))
}

/// Refuses everything but an address of this network.
pub fn check(text: &str, network: Network) -> Result<(), AddressError> {
    match parse(text)? {
        (found, _) if found == network => Ok(()),
        (found, _) => Err(AddressError::OtherNetwork(found, network)),
    }
}

fn prefix(byte: u8) -> Result<(Network, Form), AddressError> {
    Ok(match byte {
        18 => (Network::Mainnet, Form::Standard),
        19 => (Network::Mainnet, Form::Integrated),
        42 => (Network::Mainnet, Form::Subaddress),
        24 => (Network::Stagenet, Form::Standard),
        25 => (Network::Stagenet, Form::Integrated),
        36 => (Network::Stagenet, Form::Subaddress),
        53 => (Network::Testnet, Form::Standard),
        54 => (Network::Testnet, Form::Integrated),
        63 => (Network::Testnet, Form::Subaddress),
        other => return Err(AddressError::Prefix(other)),
    })
}

/// Monero's base58: blocks of 8 bytes become 11 characters, so that no big number is needed.
fn decode(text: &str) -> Option<Vec<u8>> {
    // The longest address has 106 characters; nothing longer deserves work.
    if text.len() > 128 {
        return None;
    }
    let mut bytes = Vec::with_capacity(80);
    for block in text.as_bytes().chunks(ENCODED_LEN[8]) {
        let size = ENCODED_LEN.iter().position(|len| *len == block.len())?;
        let mut value = 0u128;
        for character in block {
            let digit = ALPHABET.iter().position(|letter| letter == character)?;
            value = value * 58 + digit as u128;
        }
        if value >= 1u128 << (8 * size) {
            return None;
        }
        bytes.extend_from_slice(&value.to_be_bytes()[16 - size..]);
    }
    Some(bytes)
}
