//! One device as it is configured, with everything that a poll of it needs.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::config::{MOST_SOURCES, SourceConfig, SourceError, SourcesConfig, Target};
use super::credentials::Credentials;
use super::health::HealthLimits;
use super::schedule::Schedule;
use super::{Device, Readings, Request};

/// A device, ready to be polled.
pub struct ConfiguredSource {
    /// As it stands in the configuration.
    pub config: SourceConfig,
    /// Where it is.
    pub(super) target: Target,
    /// What it wants to see.
    pub(super) credentials: Credentials,
    /// When it is late, and stale.
    pub(super) health_limits: HealthLimits,
    /// When it is polled.
    pub(super) schedule: Schedule,
    /// What it is asked.
    pub(super) device: Box<dyn Device>,
}

impl ConfiguredSource {
    /// Reads its secret and its keys. The error names the key.
    pub fn new(config: SourceConfig, sources: &SourcesConfig) -> Result<Self, SourceError> {
        match parts(&config) {
            Ok((target, credentials, device)) => Ok(Self {
                health_limits: HealthLimits {
                    late_us: micros(1.5 * config.interval_s + config.timeout_s),
                    stale_us: micros(config.stale_after_s()),
                    heartbeat_us: micros(sources.heartbeat_s as f64),
                },
                schedule: Schedule::new(
                    Duration::from_secs_f64(config.interval_s),
                    Duration::from_secs(sources.max_backoff_s),
                ),
                config,
                target,
                credentials,
                device,
            }),
            Err(reason) => Err(SourceError {
                name: config.name,
                reason,
            }),
        }
    }

    /// Whether its password is sent after it said how, as [`super::Source::is_login_by_challenge`].
    pub(super) fn is_login_by_challenge(&self) -> bool {
        let kind = self.config.source();
        kind.is_ok_and(|kind| kind.is_login_by_challenge())
    }

    /// What it is asked in one poll.
    pub fn requests(&self) -> Vec<Request> {
        self.device.requests()
    }

    /// What it is asked after these answers.
    pub fn next_request(&self, answers: &[Option<Bytes>]) -> Option<Request> {
        self.device.next_request(answers)
    }

    /// What the answers mean, within the limits of the device. Pure.
    pub fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let readings = self.device.read(answers)?;
        if readings.is_empty() {
            return Err("the answer has none of the readings that are expected".to_owned());
        }
        Ok(readings.within(&self.config.limits))
    }
}

/// What is made of a configuration. The reason names the key.
fn parts(config: &SourceConfig) -> Result<(Target, Credentials, Box<dyn Device>), String> {
    config.check()?;
    let target = config.target(config.source()?)?;
    Ok((target, Credentials::load(config)?, config.device()?))
}

/// The faults of all entries. Files and variables of secrets are read only where the devices are
/// polled.
pub fn faults(entries: &[SourceConfig], reads_secrets: bool) -> Vec<SourceError> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for entry in entries {
        let fault = |reason: String| SourceError {
            name: entry.name.clone(),
            reason,
        };
        if !names.insert((&entry.site, &entry.name)) {
            faults.push(fault(format!(
                "another source of site {:?} has the same name; each needs its own",
                entry.site
            )));
        }
        if let Err(reason) = entry.check() {
            faults.push(fault(reason));
        }
        if reads_secrets && let Err(reason) = Credentials::load(entry) {
            faults.push(fault(reason));
        }
    }
    if entries.len() > MOST_SOURCES {
        faults.push(SourceError {
            name: String::new(),
            reason: format!(
                "there are {} sources; one process polls at most {MOST_SOURCES}",
                entries.len()
            ),
        });
    }
    faults
}

/// Seconds as microseconds; seconds are bounded by [`SourceConfig::check`].
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}
