//! The `[[source]]` entries and the `[sources]` section: which devices are polled, and how.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use super::{ALL, AddressForm, Device, Keys, Source};

/// Devices that one process polls.
pub const MOST_SOURCES: usize = 10_000;
/// Bytes of an answer that any device may be allowed.
const MOST_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Characters of the name of a device and of its site.
const MOST_NAME_CHARS: usize = 128;

/// How all devices are polled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcesConfig {
    /// Devices that are asked at the same time.
    pub max_connections: usize,
    /// The longest pause between two attempts at a device that does not answer, in seconds; never
    /// shorter than its own interval.
    pub max_backoff_s: u64,
    /// Seconds after which the health of a device is written again although it did not change.
    pub heartbeat_s: u64,
}

impl Default for SourcesConfig {
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_backoff_s: 300,
            heartbeat_s: 300,
        }
    }
}

impl SourcesConfig {
    /// Refuses what cannot work. The reason names the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_connections == 0 || self.max_connections > MOST_SOURCES {
            return Err(format!(
                "sources.max_connections is {}; it must be 1 to {MOST_SOURCES}",
                self.max_connections
            ));
        }
        if self.heartbeat_s == 0 || self.max_backoff_s == 0 {
            return Err(
                "sources.heartbeat_s and sources.max_backoff_s must be at least 1".to_owned(),
            );
        }
        Ok(())
    }
}

/// One `[[source]]`: the keys that every kind has, and those of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceConfig {
    /// One of the kinds in [`ALL`].
    pub kind: String,
    /// Names the device in its rows; unique at its site.
    pub name: String,
    /// The site it stands in.
    pub site: String,
    /// Where it is: `http://host[:port]` or `host[:port]`, as its kind wants.
    pub address: String,
    /// Seconds between two polls.
    #[serde(default = "default_interval_s")]
    pub interval_s: f64,
    /// Seconds that one poll may take.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: f64,
    /// Seconds without a new reading after which it is stale; five intervals and a timeout when
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after_s: Option<f64>,
    /// Bytes that one answer may have.
    #[serde(default = "default_body_bytes")]
    pub max_body_bytes: usize,
    /// Limits of its own by quantity, the least and the most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, [f64; 2]>,
    /// Joules a terahash as the maker rates the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rated_jth: Option<f64>,
    /// The `pool` of its rows of hashrate; the site when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The `miner` of its rows of hashrate; the site when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miner: Option<String>,
    /// User for HTTP basic authentication.
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

fn default_interval_s() -> f64 {
    30.0
}

fn default_timeout_s() -> f64 {
    5.0
}

fn default_body_bytes() -> usize {
    256 * 1024
}

/// Why a `[[source]]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("source {name:?}: {reason}")]
pub struct SourceError {
    /// Its name.
    pub name: String,
    /// Names the key and says what to do.
    pub reason: String,
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The beginning of its addresses.
    Http(Url),
    /// `host:port`.
    Host(String),
    /// A broker of MQTT.
    Broker(Broker),
}

/// Where a broker of MQTT is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// A name or an address, one of IPv6 in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it is spoken to over TLS.
    pub is_tls: bool,
}

impl SourceConfig {
    /// Refuses what cannot work. The reason names the key.
    pub fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.trim().is_empty()
                && text.chars().count() <= MOST_NAME_CHARS
                && !text.chars().any(char::is_control)
        };
        for (key, text) in [("name", &self.name), ("site", &self.site)] {
            if !plain(text) {
                return Err(format!(
                    "{key} is {text:?}; it must be 1 to {MOST_NAME_CHARS} visible characters"
                ));
            }
        }
        for (key, value, least, most) in [
            ("interval_s", self.interval_s, 0.1, 86_400.0),
            ("timeout_s", self.timeout_s, 0.01, 300.0),
            ("stale_after_s", self.stale_after_s(), 0.1, 1e9),
            ("rated_jth", self.rated_jth.unwrap_or(1.0), 1e-6, 1e15),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("{key} is {value}; it must be {least} to {most}"));
            }
        }
        if !(64..=MOST_BODY_BYTES).contains(&self.max_body_bytes) {
            return Err(format!(
                "max_body_bytes is {}; it must be 64 to {MOST_BODY_BYTES}",
                self.max_body_bytes
            ));
        }
        for (quantity, [least, most]) in &self.limits {
            if !least.is_finite() || !most.is_finite() || least > most {
                return Err(format!(
                    "limits.{quantity} must be two numbers, the least first"
                ));
            }
        }
        let source = self.source()?;
        source.check_target(&self.target(source)?)?;
        source.device(self.keys.clone()).map(|_| ())
    }

    /// Its kind.
    pub fn source(&self) -> Result<&'static dyn Source, String> {
        let found = ALL.iter().find(|source| source.kind() == self.kind);
        found.copied().ok_or_else(|| {
            let kinds: Vec<&str> = ALL.iter().map(|source| source.kind()).collect();
            format!("kind is {:?}; there are {}", self.kind, kinds.join(", "))
        })
    }

    /// The device.
    pub fn device(&self) -> Result<Box<dyn Device>, String> {
        self.source()?.device(self.keys.clone())
    }

    /// Where it is.
    pub fn target(&self, source: &dyn Source) -> Result<Target, String> {
        let address = &self.address;
        match source.address() {
            AddressForm::Http => {
                let hint = format!("address is {address:?}; write http://host or http://host:port");
                let url = Url::parse(address).map_err(|_| hint.clone())?;
                let is_plain = matches!(url.scheme(), "http" | "https")
                    && url.host().is_some()
                    && url.query().is_none()
                    && url.fragment().is_none();
                if !is_plain {
                    return Err(hint);
                }
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(
                        "address carries a login; use user and secret_file or secret_env instead"
                            .to_owned(),
                    );
                }
                Ok(Target::Http(url))
            }
            AddressForm::Mqtt => broker(address).map(Target::Broker),
            AddressForm::Host(port) => {
                let with_port = match address.rsplit_once(':') {
                    Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                        address.clone()
                    }
                    _ => format!("{address}:{port}"),
                };
                let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
                if address.is_empty() || !address.chars().all(is_plain) {
                    return Err(format!(
                        "address is {address:?}; write host or host:port, without a scheme"
                    ));
                }
                Ok(Target::Host(with_port))
            }
        }
    }

    /// How long one poll may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_s)
    }

    /// Seconds without a new reading after which it is stale.
    pub fn stale_after_s(&self) -> f64 {
        self.stale_after_s
            .unwrap_or(5.0 * self.interval_s + self.timeout_s)
    }
}

/// The broker at an address. The error says how one is written.
fn broker(address: &str) -> Result<Broker, String> {
    let hint = || format!("address is {address:?}; write mqtt://host or mqtts://host:port");
    let url = Url::parse(address).map_err(|_| hint())?;
    let is_tls = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err(hint()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        let text = "address carries a login; use user and secret_file or secret_env instead";
        return Err(text.to_owned());
    }
    let is_plain = matches!(url.path(), "" | "/") && url.query().is_none();
    let host = url.host_str().filter(|host| !host.is_empty() && is_plain);
    Ok(Broker {
        host: host.ok_or_else(hint)?.to_owned(),
        port: url.port().unwrap_or(if is_tls { 8_883 } else { 1_883 }),
        is_tls,
    })
}
