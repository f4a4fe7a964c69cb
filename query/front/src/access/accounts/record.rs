//! What the store keeps of users, tokens and sessions, as JSON. Secrets are kept as hashes only.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::accounts::password::PasswordRecord;
use crate::access::accounts::secret::SecretHash;
use crate::access::{Principal, Proof, Role, RoleError, Scope};

/// What somebody was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The name of the role.
    pub role: String,
    /// A miner's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Streams whose rows it may send beyond its role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
    /// Microseconds since 1970.
    pub created_us: i64,
    /// Who gave it.
    pub created_by: String,
}

/// A user, who logs in with a password.
#[derive(Clone, Serialize, Deserialize)]
pub struct UserRecord {
    /// What he was given.
    pub grant: Grant,
    /// What his password is checked against.
    pub password: PasswordRecord,
}

/// A token of a service.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenRecord {
    /// What it was given.
    pub grant: Grant,
    /// The token's SHA-256.
    #[serde(with = "crate::access::accounts::hex_text")]
    pub hash: SecretHash,
    /// When it ends, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_us: Option<i64>,
    /// When it was used last, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_us: Option<i64>,
}

/// The offer to become the first admin.
#[derive(Clone, Serialize, Deserialize)]
pub struct SetupRecord {
    /// The SHA-256 of the token that was printed.
    #[serde(with = "crate::access::accounts::hex_text")]
    pub hash: SecretHash,
    /// When it ends, microseconds since 1970.
    pub expires_us: i64,
}

/// A session, under the SHA-256 of its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The user.
    pub user: String,
    /// When the user was made: a user of the same name who came later has none of his sessions.
    pub user_created_us: i64,
    /// When it began, microseconds since 1970.
    pub created_us: i64,
    /// When it was used last, to the minute.
    pub last_used_us: i64,
}

/// A signed session that ended before its time, under the SHA-256 of its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndedSessionRecord {
    /// When it would have ended, microseconds since 1970.
    pub ends_us: i64,
}

impl Grant {
    /// Who holds it.
    pub fn principal(&self, name: &str, proof: Proof) -> Result<Principal, RoleError> {
        let role = Role::parse(&self.role, self.address.as_deref())?;
        let scope = match self.streams.is_empty() {
            true => Scope::RoleOnly,
            false => Scope::Streams(Arc::from(self.streams.as_slice())),
        };
        Ok(Principal {
            name: name.into(),
            role: Some(role),
            scope,
            proof,
        })
    }
}
