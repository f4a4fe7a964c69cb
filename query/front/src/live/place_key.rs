//! The server's secret under which the places of a miner's rows are sealed.
//!
//! It is kept in a file, so that a subscriber goes on where it was after the server was started
//! again.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::rand;

use crate::key_file;

/// Bytes of the secret.
const BYTES: usize = 32;
/// What sets keys of places apart from any other use of the secret.
const PURPOSE: &[u8] = b"headframe live places";

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[error(
    "the key of live places {path}: {why}; check the folder's owner and free space, or move the \
     file away to have a new one made"
)]
pub struct PlaceKeyError {
    path: PathBuf,
    why: String,
}

/// The secret.
pub struct PlaceKey(hmac::Key);

impl PlaceKey {
    /// The secret in this file, which is made with mode 0600 when there is none.
    pub fn open(path: &Path) -> Result<Self, PlaceKeyError> {
        let failed = |why: &dyn std::fmt::Display| PlaceKeyError {
            path: path.to_owned(),
            why: why.to_string(),
        };
        if !path.exists() {
            make(path).map_err(|error| failed(&error))?;
        }
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        let bytes = hex::decode(text.trim()).map_err(|error| failed(&error))?;
        match bytes.len() {
            BYTES => Ok(Self::new(&bytes)),
            _ => Err(failed(&"it does not hold 64 hex digits")),
        }
    }

    /// A secret of this process alone, which is never stored.
    pub fn ephemeral() -> Self {
        let mut bytes = [0; BYTES];
        // Without randomness the secret would be known: aws-lc has it or ends the process.
        let filled = rand::fill(&mut bytes);
        assert!(filled.is_ok(), "the system gives no random bytes");
        Self::new(&bytes)
    }

    fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The key of one miner's places in one stream.
    pub(super) fn of_miner(&self, stream: &str, address: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [PURPOSE, stream.as_bytes(), address.as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

fn make(path: &Path) -> std::io::Result<()> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(std::io::Error::other)?;
    key_file::make(path, &bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/live.key");
        let of = |key: &PlaceKey, stream, miner| key.of_miner(stream, miner).as_ref().to_vec();
        let first = PlaceKey::open(&path).unwrap();
        let again = PlaceKey::open(&path).unwrap();
        assert_eq!(of(&first, "shares", "4A"), of(&again, "shares", "4A"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Each miner, each stream and each server has its own.
        assert_ne!(of(&first, "shares", "4A"), of(&first, "shares", "4B"));
        assert_ne!(of(&first, "shares", "4A"), of(&first, "share", "s4A"));
        let other = PlaceKey::ephemeral();
        assert_ne!(of(&first, "shares", "4A"), of(&other, "shares", "4A"));
        fs::write(&path, "abcd").unwrap();
        assert!(PlaceKey::open(&path).is_err());
    }
}
