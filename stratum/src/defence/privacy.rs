//! How addresses appear in rows: as they are, or as a keyed hash.
//!
//! Addresses are personal data, and rows live for years. A hash without a key would hide nothing,
//! since all IPv4 addresses can be tried within a minute.

use std::net::IpAddr;
use std::path::Path;

use super::addresses::{Cidr, ClientAddress};
use super::config::AddressForm;

/// What the key is for, so that the same file used elsewhere gives other hashes.
const CONTEXT: &str = "headframe stratum: addresses of miners in rows";
/// The shortest key file.
const MIN_KEY_BYTES: usize = 16;

/// Shows addresses in the form that the operator chose.
pub struct Privacy {
    key: Option<[u8; 32]>,
}

impl Privacy {
    /// Reads the key, or draws one.
    pub fn new(form: AddressForm, key_file: Option<&Path>) -> std::io::Result<Self> {
        let key = match (form, key_file) {
            (AddressForm::Plain, _) => None,
            (AddressForm::Hashed, None) => Some(rand::random()),
            (AddressForm::Hashed, Some(path)) => {
                let secret = std::fs::read(path)?;
                if secret.trim_ascii().len() < MIN_KEY_BYTES {
                    return Err(std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        "the key is shorter than 16 bytes",
                    ));
                }
                Some(blake3::derive_key(CONTEXT, secret.trim_ascii()))
            }
        };
        Ok(Self { key })
    }

    /// An address; hashed, the whole /64 of an IPv6 one has one hash, the same that its bans have.
    pub fn address(&self, address: IpAddr) -> String {
        match self.key {
            None => address.to_canonical().to_string(),
            Some(_) => self.origin(ClientAddress::new(address)),
        }
    }

    /// An address that is banned.
    pub fn origin(&self, origin: ClientAddress) -> String {
        self.show(&origin.to_string())
    }

    /// A block of addresses.
    pub fn network(&self, network: &Cidr) -> String {
        self.show(&network.to_string())
    }

    fn show(&self, text: &str) -> String {
        match &self.key {
            None => text.to_owned(),
            // 128 bits: no two addresses share a hash, and it stays short.
            Some(key) => hex::encode(&blake3::keyed_hash(key, text.as_bytes()).as_bytes()[..16]),
        }
    }
}
