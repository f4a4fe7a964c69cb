//! What a miner signs in with by its wallet, and what it is given then.

use std::path::PathBuf;
use std::sync::Arc;

use crate::access::jwt::{OwnTokens, SigningKeyError};
use crate::access::wallet_challenge::WalletChallenges;

/// Texts to sign, and tokens for who signed.
#[derive(Clone)]
pub(crate) struct WalletLogin {
    pub(crate) challenges: Arc<WalletChallenges>,
    pub(crate) tokens: Arc<OwnTokens>,
}

impl WalletLogin {
    /// With the key in this file, which is made at the first sign-in.
    pub(crate) fn open(key_file: PathBuf) -> Result<Self, SigningKeyError> {
        let tokens = OwnTokens::open(key_file.clone())?;
        let challenges = WalletChallenges::new().map_err(|error| SigningKeyError::File {
            path: key_file,
            source: std::io::Error::other(error),
        })?;
        Ok(Self {
            challenges: Arc::new(challenges),
            tokens,
        })
    }
}
