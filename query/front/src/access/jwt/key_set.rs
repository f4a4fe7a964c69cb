//! The public keys of an issuer, out of PEM files and a JWK set.

use std::path::{Path, PathBuf};

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};

use crate::config::JwtConfig;
use crate::tls::read_bounded;

/// Bytes of a public key of Ed25519.
const KEY_BYTES: usize = 32;
/// Keys that one issuer may have at once; a rotation needs two.
const MAX_KEYS: usize = 16;

/// Why the keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// A file cannot be read.
    #[error("access.jwt.{key}: cannot read {path}: {reason}")]
    Read {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// A file is not what its key promises.
    #[error("access.jwt.{key}: {path} holds {fault}")]
    Content {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// More than an issuer needs.
    #[error("access.jwt: there are {0} keys, and {MAX_KEYS} is the limit; leave out old ones")]
    TooMany(usize),
}

/// The bytes of the files, so that a change is seen.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyFiles {
    pems: Vec<Vec<u8>>,
    jwks: Option<Vec<u8>>,
}

/// The keys of one issuer.
pub(super) struct KeySet(Vec<Key>);

struct Key {
    /// What tokens call it; a key of a PEM file has no name.
    id: Option<String>,
    key: DecodingKey,
}

impl KeyFiles {
    /// What the files of the configuration hold now.
    pub(super) fn read(config: &JwtConfig) -> Result<Self, KeySetError> {
        let pems = config.key_files.iter();
        let pems: Result<Vec<_>, _> = pems.map(|path| read("key_files", path)).collect();
        let jwks = config.jwks_file.as_deref();
        Ok(Self {
            pems: pems?,
            jwks: jwks.map(|path| read("jwks_file", path)).transpose()?,
        })
    }

    /// The keys in them.
    pub(super) fn parse(&self, config: &JwtConfig) -> Result<KeySet, KeySetError> {
        let mut keys = Vec::new();
        for (path, pem) in config.key_files.iter().zip(&self.pems) {
            let key = DecodingKey::from_ed_pem(pem).ok().filter(is_ed25519);
            let key = key
                .ok_or_else(|| unfit("key_files", path, "no public key of Ed25519 in PEM form"))?;
            keys.push(Key { id: None, key });
        }
        if let (Some(path), Some(text)) = (&config.jwks_file, &self.jwks) {
            let set: JwkSet = serde_json::from_slice(text)
                .map_err(|error| unfit("jwks_file", path, &format!("no JWK set: {error}")))?;
            let named = keys.len();
            keys.extend(set.keys.iter().filter_map(Key::from_jwk));
            if keys.len() == named {
                return Err(unfit("jwks_file", path, "no key of Ed25519 to verify with"));
            }
        }
        match keys.len() {
            1..=MAX_KEYS => Ok(KeySet(keys)),
            count => Err(KeySetError::TooMany(count)),
        }
    }
}

impl KeySet {
    /// A set of one key.
    pub(super) fn of_one(id: String, public_key: &[u8]) -> Self {
        let key = DecodingKey::from_ed_der(public_key);
        Self(vec![Key { id: Some(id), key }])
    }

    /// The keys that a token of this name for its key may be signed with: those of the name, and
    /// those without one.
    pub(super) fn candidates(&self, id: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        let fits = move |key: &&Key| match (id, key.id.as_deref()) {
            (Some(wanted), Some(name)) => wanted == name,
            _ => true,
        };
        self.0.iter().filter(fits).map(|key| &key.key)
    }
}

impl Key {
    /// A key of a set, where it is one of Ed25519 for signatures.
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let AlgorithmParameters::OctetKeyPair(parameters) = &jwk.algorithm else {
            return None;
        };
        let is_for_signatures = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        if parameters.curve != EllipticCurve::Ed25519 || !is_for_signatures {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok().filter(is_ed25519)?;
        let id = jwk.common.key_id.clone();
        Some(Self { id, key })
    }
}

fn is_ed25519(key: &DecodingKey) -> bool {
    key.try_get_as_bytes()
        .is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, KeySetError> {
    read_bounded(path).map_err(|error| KeySetError::Read {
        key,
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn unfit(key: &'static str, path: &Path, fault: &str) -> KeySetError {
    KeySetError::Content {
        key,
        path: path.to_owned(),
        fault: fault.to_owned(),
    }
}
