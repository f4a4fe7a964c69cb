//! The pool's signing key: whoever knows its public half can tell the pool's own windows from
//! forged ones.
//!
//! It is made at the first start, in a file that only the owner can read. Ed25519 signs without
//! randomness, so that the same window signed twice gives the same row.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read or written.
    #[error("the signing key {path}: {why}; check the folder's owner and free space")]
    File {
        /// Where.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Others could read the key.
    #[error(
        "the signing key {path} can be read by others (mode {mode:o}); make it 0600, and make a \
        new key if anybody may have copied it"
    )]
    Open {
        /// Where.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "{path} is no signing key ({why}); put the key back from a copy, or move the file away to \
        have a new key made"
    )]
    Unfit {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// A key pair.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key in this file; it is made, with mode 0600, when there is none.
    pub fn open(path: &Path) -> Result<Self, SigningKeyError> {
        let file = |error: &dyn std::fmt::Display| SigningKeyError::File {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let unfit = |why: &dyn std::fmt::Display| SigningKeyError::Unfit {
            path: path.to_owned(),
            why: why.to_string(),
        };
        if !path.exists() {
            make(path).map_err(|error| file(&error))?;
        }
        let mode = fs::metadata(path)
            .map_err(|error| file(&error))?
            .permissions()
            .mode()
            & 0o777;
        if mode & 0o077 != 0 {
            return Err(SigningKeyError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let text = fs::read_to_string(path).map_err(|error| file(&error))?;
        let pkcs8 = hex::decode(text.trim()).map_err(|error| unfit(&error))?;
        Ed25519KeyPair::from_pkcs8(&pkcs8)
            .map(Self)
            .map_err(|error| unfit(&error))
    }

    /// A key for this process alone, never stored.
    pub fn ephemeral() -> Result<Self, SigningKeyError> {
        let unfit = |why: &dyn std::fmt::Display| SigningKeyError::Unfit {
            path: PathBuf::new(),
            why: why.to_string(),
        };
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|error| unfit(&error))?;
        Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())
            .map(Self)
            .map_err(|error| unfit(&error))
    }

    /// The public half, 64 hex digits.
    pub fn public_hex(&self) -> String {
        hex::encode(self.0.public_key().as_ref())
    }

    /// The signature of a text, 128 hex digits.
    pub fn sign(&self, text: &str) -> String {
        hex::encode(self.0.sign(text.as_bytes()).as_ref())
    }
}

/// Whether this signature of this text was made with the private half of this public key.
pub fn verify(public_hex: &str, text: &str, signature_hex: &str) -> bool {
    let (Ok(public), Ok(signature)) = (hex::decode(public_hex), hex::decode(signature_hex)) else {
        return false;
    };
    UnparsedPublicKey::new(&ED25519, public)
        .verify(text.as_bytes(), &signature)
        .is_ok()
}

/// Made under another name first: a key that is there is whole.
fn make(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let pkcs8 =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(std::io::Error::other)?;
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(hex::encode(pkcs8.as_ref()).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // Of two processes that begin at once the first one's key stays.
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::File::open(folder)?.sync_all(),
    }
}
