//! The `[[signal]]` entries: which signals are read, and how.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use headframe_ingest::source::{Credentials, Exchange, read_secret};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    ALL, Given, KeptLayout, Keys, LayoutShown, RawBody, ReadContext, Signal, SignalKind, Usage,
    UsageReportError,
};
use crate::moment::Moment;
use crate::request::{SignalClass, SignalReading, SignalValue, TimedRequests};

/// Bytes that an answer may be allowed.
const MOST_BODY_BYTES: usize = 4 * 1024 * 1024;

/// One `[[signal]]`: the keys that every kind has, and those of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalConfig {
    /// One of the kinds in [`ALL`].
    pub kind: String,
    /// Its name, unique at the site.
    pub name: String,
    /// What it is worth against others.
    pub class: SignalClass,
    /// Seconds that one read may take.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: f64,
    /// Seconds between two reads; that of the controller's steps when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<f64>,
    /// Bytes that one answer may have.
    #[serde(default = "default_body_bytes")]
    pub max_body_bytes: usize,
    /// User for HTTP basic authentication, or the client's name at an OpenADR server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The variable of the environment with the password or token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// The file with it, of mode 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The word before a token in the header `Authorization`, where there is no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_scheme: Option<String>,
    /// The keys of its kind.
    #[serde(flatten)]
    pub keys: Keys,
}

fn default_timeout_s() -> f64 {
    10.0
}

fn default_body_bytes() -> usize {
    256 * 1024
}

/// Why a `[[signal]]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("signal {name:?}: {reason}")]
pub struct SignalError {
    /// Its name.
    pub name: String,
    /// Names the key and says what to do.
    pub reason: String,
}

impl SignalConfig {
    /// Refuses what cannot work. The error names the key.
    pub fn validate(&self) -> Result<(), SignalError> {
        self.signal()
            .map(|_| ())
            .map_err(|reason| self.error(reason))
    }

    fn error(&self, reason: String) -> SignalError {
        SignalError {
            name: self.name.clone(),
            reason,
        }
    }

    fn signal(&self) -> Result<Box<dyn Signal>, String> {
        if self.name.is_empty() || self.name.len() > 128 {
            return Err("name must have 1 to 128 bytes".to_owned());
        }
        if !(0.1..=120.0).contains(&self.timeout_s) {
            let timeout_s = self.timeout_s;
            return Err(format!("timeout_s is {timeout_s}; it must be 0.1 to 120"));
        }
        if let Some(interval_s) = self.interval_s
            && !(0.1..=3_600.0).contains(&interval_s)
        {
            return Err(format!(
                "interval_s is {interval_s}; it must be 0.1 to 3600"
            ));
        }
        if !(16..=MOST_BODY_BYTES).contains(&self.max_body_bytes) {
            let bytes = self.max_body_bytes;
            return Err(format!(
                "max_body_bytes is {bytes}; it must be 16 to {MOST_BODY_BYTES}"
            ));
        }
        self.kind_of_signal()?.signal(self.keys.clone())
    }

    /// Between two reads.
    pub fn interval(&self) -> Option<Duration> {
        self.interval_s.map(Duration::from_secs_f64)
    }

    fn kind_of_signal(&self) -> Result<&'static dyn SignalKind, String> {
        let found = ALL.iter().find(|kind| kind.kind() == self.kind);
        found.copied().ok_or_else(|| {
            let kinds: Vec<&str> = ALL.iter().map(|kind| kind.kind()).collect();
            format!("kind is {:?}; there are {}", self.kind, kinds.join(", "))
        })
    }

    fn credentials(&self) -> Result<Credentials, String> {
        let secret = read_secret(self.secret_env.as_deref(), self.secret_file.as_deref())?;
        Credentials::new(self.user.as_deref(), secret, self.token_scheme.as_deref())
    }
}

/// The faults of all entries. Secrets are read only where the signals are.
pub fn faults(entries: &[SignalConfig], reads_secrets: bool) -> Vec<SignalError> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for entry in entries {
        if !names.insert(&entry.name) {
            let reason = "another signal has the same name; each needs its own".to_owned();
            faults.push(entry.error(reason));
        }
        faults.extend(entry.validate().err());
        if reads_secrets && let Err(reason) = entry.credentials() {
            faults.push(entry.error(reason));
        }
    }
    faults
}

/// A signal, ready to be read.
pub struct ConfiguredSignal {
    /// As it stands in the configuration.
    pub config: SignalConfig,
    site: String,
    credentials: Credentials,
    exchange: Exchange,
    signal: Box<dyn Signal>,
}

impl ConfiguredSignal {
    /// Reads its secret and its keys. The error names the key.
    pub fn new(config: SignalConfig, site: &str, exchange: Exchange) -> Result<Self, SignalError> {
        let parts = config
            .signal()
            .and_then(|signal| Ok((signal, config.credentials()?)));
        let (signal, credentials) = parts.map_err(|reason| config.error(reason))?;
        Ok(Self {
            config,
            site: site.to_owned(),
            credentials,
            exchange,
            signal,
        })
    }

    fn context(&self, now: Moment) -> ReadContext<'_> {
        ReadContext {
            exchange: &self.exchange,
            credentials: &self.credentials,
            site: &self.site,
            now,
            most: self.config.max_body_bytes,
        }
    }

    /// Reads it; it takes no longer than its `timeout_s`.
    pub async fn read(&self, now: Moment) -> SignalReading {
        let context = self.context(now);
        let read = self.signal.read(&context);
        let timeout = Duration::from_secs_f64(self.config.timeout_s);
        let value = tokio::time::timeout(timeout, read).await;
        SignalReading {
            source: self.config.name.clone(),
            class: self.config.class,
            read_at: now,
            value: value.unwrap_or_else(|_| {
                SignalValue::Unknown(format!("no whole answer came within {timeout:?}"))
            }),
        }
    }

    /// Gives it something, where its kind takes that. The error says why not.
    pub fn give(&self, given: Given, now: Moment) -> Result<(), SignalError> {
        let result = self.signal.give(given, now);
        result.map_err(|reason| self.config.error(reason))
    }

    /// What somebody gave, and until when it counts.
    pub fn held(&self) -> Option<TimedRequests> {
        self.signal.held()
    }

    /// Takes what was given before a restart.
    pub fn restore(&self, held: TimedRequests) {
        self.signal.restore(held);
    }

    /// The last bodies as they came, the newest last.
    pub fn evidence(&self) -> Vec<RawBody> {
        self.signal.evidence()
    }

    /// The layout of its page, where it has one that is checked.
    pub fn layout(&self) -> Option<LayoutShown> {
        self.signal.layout()
    }

    /// Takes the layout that its last page had. The error says why not.
    pub fn accept_layout(&self, layout: &str) -> Result<(), String> {
        self.signal.accept_layout(layout)
    }

    /// The layout that is expected, to outlast a restart.
    pub fn kept_layout(&self) -> Option<KeptLayout> {
        self.signal.kept_layout()
    }

    /// Takes the layout that was expected before a restart.
    pub fn restore_layout(&self, kept: &KeptLayout) {
        self.signal.restore_layout(kept);
    }

    /// Whether the asker wants to know how the site did.
    pub fn wants_reports(&self) -> bool {
        self.signal.wants_reports()
    }

    /// Says how the site did, where the asker wants to know.
    ///
    /// # Errors
    ///
    /// It was not taken: whether it may be later, and why.
    pub async fn report(&self, usage: &Usage, now: Moment) -> Result<(), UsageReportError> {
        let context = self.context(now);
        let report = self.signal.report(usage, &context);
        let timeout = Duration::from_secs_f64(self.config.timeout_s);
        let result = tokio::time::timeout(timeout, report).await;
        let late = || UsageReportError::NotTaken(format!("no answer within {timeout:?}"));
        result.unwrap_or_else(|_| Err(late()))
    }
}
