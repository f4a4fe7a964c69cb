//! The section `[stratum.daemons]`: when a daemon counts as unfit, and where it publishes blocks.

use serde::{Deserialize, Serialize};

use super::breaker::Limits;
use super::daemon_health::HealthRules;
use crate::config_error::ConfigError;

/// The section `[stratum.daemons]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonSettings {
    /// Where each daemon publishes new blocks by ZMQ, e.g. `tcp://127.0.0.1:18083`, in the order of
    /// the daemons; an empty text for one that does not. Polling goes on beside it.
    pub zmq_urls: Vec<String>,
    /// Seconds a daemon may be lower than another one before it counts as stuck.
    pub lag_s: u64,
    /// Seconds a preferred daemon must be healthy again before it is used again.
    pub return_s: u64,
    /// Seconds a daemon's last answer may be old.
    pub silent_s: u64,
    /// Seconds without a new block after which a daemon of a public network counts as cut off; 0 =
    /// never.
    pub tip_max_age_s: u64,
    /// Failures in a row after which a daemon is left alone for a while.
    pub breaker_failures: u32,
    /// Milliseconds it is left alone the first time; each failed try doubles it.
    pub breaker_wait_ms: u64,
    /// Milliseconds it is left alone at most.
    pub breaker_longest_wait_ms: u64,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            zmq_urls: Vec::new(),
            lag_s: 30,
            return_s: 15,
            silent_s: 10,
            tip_max_age_s: 3600,
            breaker_failures: 3,
            breaker_wait_ms: 1000,
            breaker_longest_wait_ms: 5000,
        }
    }
}

impl DaemonSettings {
    /// Refuses what could only fail later; `daemons` is how many there are.
    pub fn validate(&self, daemons: usize) -> Result<(), ConfigError> {
        let refuse = |key, value: &str, reason: &str| ConfigError {
            key,
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        if self.zmq_urls.len() > daemons {
            return Err(refuse(
                "daemons.zmq_urls",
                &self.zmq_urls.join(", "),
                "has more entries than there are daemons",
            ));
        }
        let bad = self
            .zmq_urls
            .iter()
            .find(|url| !url.is_empty() && zmq_address(url).is_none());
        if let Some(url) = bad {
            return Err(refuse(
                "daemons.zmq_urls",
                url,
                "write it as tcp://host:port, as monerod's --zmq-pub has it",
            ));
        }
        let positive = [
            ("daemons.silent_s", self.silent_s),
            ("daemons.breaker_failures", u64::from(self.breaker_failures)),
            ("daemons.breaker_wait_ms", self.breaker_wait_ms),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(refuse(key, "0", "must be at least 1")),
            None => Ok(()),
        }
    }

    pub(super) fn rules(&self) -> HealthRules {
        let breaker = Limits {
            failures: self.breaker_failures,
            first_wait_ms: self.breaker_wait_ms,
            longest_wait_ms: self.breaker_longest_wait_ms,
            probe_ms: 60_000,
        };
        let ms = |seconds: u64| seconds.saturating_mul(1000);
        let (silent_ms, lag_ms, return_ms) = (ms(self.silent_s), ms(self.lag_s), ms(self.return_s));
        HealthRules {
            silent_ms,
            lag_ms,
            tip_age_ms: None,
            return_ms,
            breaker,
        }
    }
}

/// `host:port` of a ZMQ address over TCP.
pub fn zmq_address(url: &str) -> Option<&str> {
    let address = url.strip_prefix("tcp://")?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)).then_some(address)
}

/// `host:port` of an address, which holds no password.
pub fn daemon_name(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed
        .as_ref()
        .and_then(|url| url.host_str())
        .unwrap_or("daemon");
    let port = parsed
        .as_ref()
        .and_then(reqwest::Url::port_or_known_default)
        .unwrap_or(0);
    format!("{host}:{port}")
}
