//! The key of the tokens that this system signs itself: a file that its owner alone reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::EncodingKey;

use crate::key_file;

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read or made.
    #[error("the key of sign-in tokens in {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Whoever reads it makes himself anybody, an admin too.
    #[error("the key of sign-in tokens in {path} has mode {mode:03o}; `chmod 600` it")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else.
    #[error(
        "{0} holds no key of sign-in tokens; move it away, and a new one is made (who is signed in \
         by wallet or identity provider then signs in again)"
    )]
    Unfit(PathBuf),
}

/// A key of Ed25519.
pub(super) struct SigningKey {
    pub(super) private: EncodingKey,
    pub(super) public: [u8; 32],
}

impl SigningKey {
    /// The key in this file; `None` where there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, SigningKeyError> {
        let failed = |source| SigningKeyError::File {
            path: path.to_owned(),
            source,
        };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed)?,
        };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(SigningKeyError::Open { path, mode });
        }
        let key = hex::decode(text.trim()).ok().and_then(|pkcs8| {
            let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
            Some(Self {
                private: EncodingKey::from_ed_der(&pkcs8),
                public: pair.public_key().as_ref().try_into().ok()?,
            })
        });
        let unfit = || SigningKeyError::Unfit(path.to_owned());
        key.map(Some).ok_or_else(unfit)
    }

    /// The key in this file, which is made where there is none.
    pub(super) fn read_or_make(path: &Path) -> Result<Self, SigningKeyError> {
        if let Some(key) = Self::read(path)? {
            return Ok(key);
        }
        make(path).map_err(|source| SigningKeyError::File {
            path: path.to_owned(),
            source,
        })?;
        Self::read(path)?.ok_or_else(|| SigningKeyError::Unfit(path.to_owned()))
    }
}

fn make(path: &Path) -> std::io::Result<()> {
    let pkcs8 =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(std::io::Error::other)?;
    key_file::make(path, pkcs8.as_ref())
}
