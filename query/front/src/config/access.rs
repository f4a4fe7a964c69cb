//! The `access` section of the configuration: whose word is taken for who somebody is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::oidc::{OidcConfig, OidcConfigError};

/// The longest that a token may live, in seconds: 31 days.
const LONGEST_LIFETIME_S: u64 = 31 * 86_400;

/// The `access` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// Tokens of services that somebody else signs.
    pub jwt: JwtConfig,
    /// People who sign in with an identity provider.
    pub oidc: OidcConfig,
}

/// The section `access.jwt`. Without an issuer no such token is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// Who signs the tokens, their claim `iss`.
    pub issuer: Option<String>,
    /// Whom they are for, their claim `aud`.
    pub audience: String,
    /// PEM files with one public key of Ed25519 each.
    pub key_files: Vec<PathBuf>,
    /// A file with a JWK set, of which the keys of Ed25519 count.
    pub jwks_file: Option<PathBuf>,
    /// The claim with the role.
    pub role_claim: String,
    /// The claim with the address of a miner.
    pub address_claim: String,
    /// The longest from `iat` to `exp`, in seconds.
    pub max_lifetime_s: u64,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: "headframe".to_owned(),
            key_files: Vec::new(),
            jwks_file: None,
            role_claim: "role".to_owned(),
            address_claim: "address".to_owned(),
            max_lifetime_s: 3_600,
        }
    }
}

/// Why the section is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccessConfigError {
    /// Every signature would be wrong.
    #[error(
        "access.jwt.issuer is set but no key is named: set access.jwt.key_files or \
         access.jwt.jwks_file"
    )]
    NoKeys,
    /// The keys would be for nothing.
    #[error("access.jwt names keys but access.jwt.issuer is not set; name who signs with them")]
    NoIssuer,
    /// Then tokens for others would be taken, or none.
    #[error("access.jwt.{0} is empty; give it a value, or leave it out for its default")]
    Empty(&'static str),
    /// A token cannot be revoked before its end.
    #[error("access.jwt.max_lifetime_s is {0}; it must be from 1 to {LONGEST_LIFETIME_S}")]
    Lifetime(u64),
    /// The part about an identity provider.
    #[error(transparent)]
    Oidc(#[from] OidcConfigError),
}

impl AccessConfig {
    /// Refuses what cannot work and what must not be.
    pub fn validate(&self) -> Result<(), AccessConfigError> {
        self.oidc.validate()?;
        let jwt = &self.jwt;
        let has_keys = !jwt.key_files.is_empty() || jwt.jwks_file.is_some();
        match (&jwt.issuer, has_keys) {
            (Some(_), false) => return Err(AccessConfigError::NoKeys),
            (None, true) => return Err(AccessConfigError::NoIssuer),
            _ => {}
        }
        for (key, value) in [
            ("issuer", jwt.issuer.as_deref().unwrap_or("none")),
            ("audience", &jwt.audience),
            ("role_claim", &jwt.role_claim),
            ("address_claim", &jwt.address_claim),
        ] {
            if value.trim().is_empty() {
                return Err(AccessConfigError::Empty(key));
            }
        }
        match jwt.max_lifetime_s {
            1..=LONGEST_LIFETIME_S => Ok(()),
            other => Err(AccessConfigError::Lifetime(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_needs_keys_and_keys_an_issuer() {
        let of = |jwt| {
            let config = AccessConfig {
                jwt,
                ..AccessConfig::default()
            };
            config.validate()
        };
        let issuer = Some("https://id.example.org".to_owned());
        let keyed = JwtConfig {
            issuer: issuer.clone(),
            key_files: vec!["issuer.pem".into()],
            ..JwtConfig::default()
        };
        assert_eq!(of(JwtConfig::default()), Ok(()));
        assert_eq!(of(keyed.clone()), Ok(()));
        let changed = |change: fn(&mut JwtConfig)| {
            let mut jwt = keyed.clone();
            change(&mut jwt);
            of(jwt)
        };
        assert_eq!(
            changed(|jwt| jwt.key_files.clear()),
            Err(AccessConfigError::NoKeys)
        );
        assert_eq!(
            changed(|jwt| jwt.issuer = None),
            Err(AccessConfigError::NoIssuer)
        );
        assert_eq!(
            changed(|jwt| jwt.audience.clear()),
            Err(AccessConfigError::Empty("audience"))
        );
        assert_eq!(
            changed(|jwt| jwt.max_lifetime_s = 0),
            Err(AccessConfigError::Lifetime(0))
        );
        assert_eq!(
            changed(|jwt| jwt.max_lifetime_s = 86_400 * 32),
            Err(AccessConfigError::Lifetime(86_400 * 32))
        );
    }
}
