//! The `[[channel]]` entries: who gets notices, and how.

use std::collections::BTreeSet;
use std::path::PathBuf;

use headframe_ingest::source::{Credentials, read_secret};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ALL, Channel, ChannelKind, Keys};
use crate::notice::Severity;

/// One `[[channel]]`: the keys that every kind has, and those of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelConfig {
    /// One of the kinds in [`ALL`].
    pub kind: String,
    /// Its name, unique at the site.
    pub name: String,
    /// The least severity that it carries; as its kind says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<Severity>,
    /// The user that the secret belongs to, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The variable of the environment with the password, token or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// The file with it, of mode 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The keys of its kind.
    #[serde(flatten)]
    pub keys: Keys,
}

/// Why a `[[channel]]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("channel {name:?}: {reason}")]
pub struct ChannelError {
    /// Its name.
    pub name: String,
    /// Names the key and says what to do.
    pub reason: String,
}

impl ChannelConfig {
    /// Refuses what cannot work. The error names the key.
    pub fn validate(&self) -> Result<(), ChannelError> {
        self.channels()
            .map(|_| ())
            .map_err(|reason| self.error(reason))
    }

    pub(super) fn error(&self, reason: String) -> ChannelError {
        ChannelError {
            name: self.name.clone(),
            reason,
        }
    }

    fn kind_of_channel(&self) -> Result<&'static dyn ChannelKind, String> {
        let found = ALL.iter().find(|kind| kind.kind() == self.kind);
        found.copied().ok_or_else(|| {
            let kinds: Vec<&str> = ALL.iter().map(|kind| kind.kind()).collect();
            format!("kind is {:?}; there are {}", self.kind, kinds.join(", "))
        })
    }

    pub(super) fn least_severity(&self) -> Result<Severity, String> {
        Ok(self.least.unwrap_or(self.kind_of_channel()?.least()))
    }

    /// A channel for each recipient.
    pub(super) fn channels(&self) -> Result<Vec<Box<dyn Channel>>, String> {
        if self.name.is_empty() || self.name.len() > 128 {
            return Err("name must have 1 to 128 bytes".to_owned());
        }
        self.kind_of_channel()?.channels(self.keys.clone())
    }

    /// The secret, checked by the channels that use it.
    pub(super) fn credentials(&self) -> Result<Credentials, String> {
        let secret = read_secret(self.secret_env.as_deref(), self.secret_file.as_deref())?;
        let credentials = Credentials::new(self.user.as_deref(), secret, None)?;
        for channel in self.channels()? {
            channel.check_secret(&credentials)?;
        }
        Ok(credentials)
    }
}

/// The faults of all entries. Secrets are read only where notices are sent.
pub fn faults(entries: &[ChannelConfig], reads_secrets: bool) -> Vec<ChannelError> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for entry in entries {
        if !names.insert(&entry.name) {
            let reason = "another channel has the same name; each needs its own".to_owned();
            faults.push(entry.error(reason));
        }
        if let Err(error) = entry.validate() {
            faults.push(error);
        } else if reads_secrets && let Err(reason) = entry.credentials() {
            faults.push(entry.error(reason));
        }
    }
    faults
}
