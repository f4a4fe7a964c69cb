//! OpenSY addresses: which network they belong to and which output script pays them.
//!
//! The pool's own address becomes the script of every coinbase and an account's address is paid for
//! years, so both are checked to the last character. A form that anybody could spend from (an
//! unknown witness version) is refused.

use std::fmt;
use thiserror::Error;

mod base58;
mod bech32;

const OP_0: u8 = 0x00;
const OP_1: u8 = 0x51;
const OP_DUP: u8 = 0x76;
const OP_EQUAL: u8 = 0x87;
const OP_EQUALVERIFY: u8 = 0x88;
const OP_HASH160: u8 = 0xa9;
const OP_CHECKSIG: u8 = 0xac;

/// The network an address belongs to, with its prefixes (`kernel/chainparams.cpp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// `syl1…`, `F…`.
    Mainnet,
    /// `tsyl1…`, `f…`: testnet, testnet4 and signet.
    Testnet,
    /// `rsyl1…`, `f…`.
    Regtest,
}

/// What an address pays to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The hash of a public key.
    PubkeyHash([u8; 20]),
    /// The hash of a script.
    ScriptHash([u8; 20]),
    /// The hash of a public key, as a witness program.
    WitnessPubkeyHash([u8; 20]),
    /// The hash of a script, as a witness program.
    WitnessScriptHash([u8; 32]),
    /// A taproot output key.
    Taproot([u8; 32]),
}

/// Why a text is not an address.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// Neither bech32 nor base58.
    #[error(
        "address has a character or length that its encoding does not allow; copy it again from \
         the wallet"
    )]
    Encoding,
    /// Right letters, wrong sum.
    #[error("address checksum does not match; a character was mistyped or lost")]
    Checksum,
    /// The payload is not as long as its kind demands.
    #[error("address does not have the length its kind demands")]
    Length,
    /// A prefix of no network we know.
    #[error("address prefix {0} belongs to no OpenSY network")]
    Prefix(String),
    /// A witness program whose meaning is not defined: anybody could spend what is paid to it.
    #[error(
        "address has witness version {0} with {1} bytes, which nobody can safely be paid to yet"
    )]
    Witness(u8, usize),
    /// Valid, elsewhere.
    #[error("address belongs to {0}, this pool mines {1}")]
    OtherNetwork(Network, Network),
    /// The same address in other letters would be another account.
    #[error("write the address in lower case: the pool keeps one account for one spelling")]
    UpperCase,
}

/// What in the text names the network.
enum Marker {
    Bech32(String),
    Base58(u8),
}

impl Network {
    const ALL: [Network; 3] = [Network::Mainnet, Network::Testnet, Network::Regtest];

    /// The network a daemon names in `getblockchaininfo.chain`.
    pub fn from_chain(chain: &str) -> Option<Self> {
        match chain {
            "main" => Some(Network::Mainnet),
            "test" | "testnet4" | "signet" => Some(Network::Testnet),
            "regtest" => Some(Network::Regtest),
            _ => None,
        }
    }

    /// What its segwit addresses begin with, before the `1`.
    pub fn prefix(self) -> &'static str {
        match self {
            Network::Mainnet => "syl",
            Network::Testnet => "tsyl",
            Network::Regtest => "rsyl",
        }
    }

    /// The version bytes of its older addresses: to a key's hash, to a script's hash.
    pub fn versions(self) -> (u8, u8) {
        match self {
            Network::Mainnet => (35, 36),
            Network::Testnet | Network::Regtest => (95, 96),
        }
    }

    fn owns(self, marker: &Marker) -> bool {
        match marker {
            Marker::Bech32(prefix) => prefix == self.prefix(),
            Marker::Base58(version) => {
                *version == self.versions().0 || *version == self.versions().1
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Mainnet => "mainnet",
            Network::Testnet => "a test network",
            Network::Regtest => "regtest",
        })
    }
}

impl Destination {
    /// The script of an output that pays it.
    pub fn script(&self) -> Vec<u8> {
        match self {
            Destination::PubkeyHash(hash) => [
                &[OP_DUP, OP_HASH160, 20],
                hash.as_slice(),
                &[OP_EQUALVERIFY, OP_CHECKSIG],
            ]
            .concat(),
            Destination::ScriptHash(hash) => {
                [&[OP_HASH160, 20], hash.as_slice(), &[OP_EQUAL]].concat()
            }
            Destination::WitnessPubkeyHash(hash) => [&[OP_0, 20], hash.as_slice()].concat(),
            Destination::WitnessScriptHash(hash) => [&[OP_0, 32], hash.as_slice()].concat(),
            Destination::Taproot(key) => [&[OP_1, 32], key.as_slice()].concat(),
        }
    }
}

/// Reads an address of this network.
pub fn parse(text: &str, network: Network) -> Result<Destination, AddressError> {
    let (marker, destination) = read(text)?;
    if network.owns(&marker) {
        return Ok(destination);
    }
    Err(
        match Network::ALL.into_iter().find(|other| other.owns(&marker)) {
            Some(other) => AddressError::OtherNetwork(other, network),
            None => unknown(&marker),
        },
    )
}

/// Reads an address of any of the networks, for as long as the daemon has not said which it is on.
pub fn parse_any(text: &str) -> Result<Destination, AddressError> {
    let (marker, destination) = read(text)?;
    if Network::ALL
        .into_iter()
        .any(|network| network.owns(&marker))
    {
        Ok(destination)
    } else {
        Err(unknown(&marker))
    }
}

/// Whether a text can name an account on this network.
pub fn check_account(text: &str, network: Network) -> Result<(), AddressError> {
    let destination = parse(text, network)?;
    let legacy = matches!(
        destination,
        Destination::PubkeyHash(_) | Destination::ScriptHash(_)
    );
    if !legacy && text.bytes().any(|c| c.is_ascii_uppercase()) {
        Err(AddressError::UpperCase)
    } else {
        Ok(())
    }
}

fn unknown(marker: &Marker) -> AddressError {
    AddressError::Prefix(match marker {
        Marker::Bech32(prefix) => format!("{prefix:?}"),
        Marker::Base58(version) => version.to_string(),
    })
}

fn read(text: &str) -> Result<(Marker, Destination), AddressError> {
    if is_segwit(text) {
        let bech32::Decoded {
            prefix,
            version,
            program,
        } = bech32::decode(text)?;
        return Ok((Marker::Bech32(prefix), witness(version, &program)?));
    }
    let (version, hash) = base58::decode(text)?;
    let to_script = Network::ALL
        .iter()
        .any(|network| network.versions().1 == version);
    let destination = if to_script {
        Destination::ScriptHash(hash)
    } else {
        Destination::PubkeyHash(hash)
    };
    Ok((Marker::Base58(version), destination))
}

/// Whether to judge a text as a segwit address: so that its typing errors are named rightly, also a
/// damaged one.
fn is_segwit(text: &str) -> bool {
    let begins = |network: &Network| {
        let head = text
            .get(..=network.prefix().len())
            .unwrap_or_default()
            .to_ascii_lowercase();
        head.strip_suffix('1') == Some(network.prefix())
    };
    text.len() > base58::MAX_TEXT || Network::ALL.iter().any(begins)
}

fn witness(version: u8, program: &[u8]) -> Result<Destination, AddressError> {
    let refused = || AddressError::Witness(version, program.len());
    match (version, program.len()) {
        (0, 20) => program
            .try_into()
            .map(Destination::WitnessPubkeyHash)
            .map_err(|_| refused()),
        (0, 32) => program
            .try_into()
            .map(Destination::WitnessScriptHash)
            .map_err(|_| refused()),
        (1, 32) => program
            .try_into()
            .map(Destination::Taproot)
            .map_err(|_| refused()),
        (0, _) => Err(AddressError::Length),
        _ => Err(refused()),
    }
}
