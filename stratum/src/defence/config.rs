//! The section `[stratum.defence]`: every limit against those who would harm the pool or other
//! miners.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::addresses::Cidr;
use super::{bans, limits, reputation, worker_names};
use crate::config_error::ConfigError;
use crate::randomx::fair_queue;

/// The section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefenceConfig {
    /// Addresses and blocks without limits by address and without automatic bans of the address:
    /// those who can be reached by other means, and the address that a proxy or a container's
    /// network shows for everybody.
    pub allow: Vec<String>,
    /// A file that keeps bans over a restart; `stratum/bans.ndjson` in the data folder when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bans_file: Option<PathBuf>,
    /// How addresses appear in rows: plain, or hashed with a key, because they are personal data.
    pub addresses_in_rows: AddressForm,
    /// The key of the hash, 16 bytes or more; without it a new one is drawn at each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_key_file: Option<PathBuf>,
    /// Lines a second a connection may send; more wait in its socket.
    pub lines_per_s: u32,
    /// Lines it may send at once.
    pub lines_burst: u32,
    /// Bytes the kernel may hold for a miner that does not read.
    pub send_buffer_bytes: usize,
    /// Connections by address and neighbourhood.
    pub limits: limits::ConnectionLimits,
    /// When a reputation is bad.
    #[serde(rename = "conduct")]
    pub reputation: reputation::ReputationConfig,
    /// How long bans last.
    pub bans: bans::BanConfig,
    /// Worker names.
    pub names: worker_names::WorkerNamesConfig,
    /// Who is verified first.
    pub verify: fair_queue::FairnessSettings,
}

/// How an address appears in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressForm {
    /// As it is.
    Plain,
    /// As a keyed hash: rows of one address can be told to belong together, and nobody without the
    /// key can tell whose they are.
    Hashed,
}

impl Default for DefenceConfig {
    fn default() -> Self {
        let local = [
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ];
        Self {
            allow: local.map(str::to_owned).to_vec(),
            bans_file: None,
            addresses_in_rows: AddressForm::Plain,
            address_key_file: None,
            lines_per_s: 50,
            lines_burst: 200,
            send_buffer_bytes: 65_536,
            limits: limits::ConnectionLimits::default(),
            reputation: reputation::ReputationConfig::default(),
            bans: bans::BanConfig::default(),
            names: worker_names::WorkerNamesConfig::default(),
            verify: fair_queue::FairnessSettings::default(),
        }
    }
}

impl DefenceConfig {
    /// Refuses what would keep every miner out or nobody.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.allowed()?;
        if self.address_key_file.is_some() && self.addresses_in_rows == AddressForm::Plain {
            let reason =
                "is of no use while defence.addresses_in_rows is plain; write hashed there";
            return Err(refuse("defence.address_key_file", "set", reason));
        }
        if let Some((key, _)) = self.positive().into_iter().find(|(_, value)| *value == 0) {
            return Err(refuse(key, "0", "must be at least 1"));
        }
        if !(1..=100).contains(&self.limits.unproven_percent) {
            return Err(refuse(
                "defence.limits.unproven_percent",
                &self.limits.unproven_percent.to_string(),
                "must lie between 1 and 100",
            ));
        }
        if self.bans.longest_s < self.bans.first_s {
            return Err(refuse(
                "defence.bans.longest_s",
                &self.bans.longest_s.to_string(),
                "must be at least defence.bans.first_s",
            ));
        }
        if self.send_buffer_bytes < 4096 {
            let reason = "must be at least 4096, which a login's answer and a few jobs need";
            return Err(refuse(
                "defence.send_buffer_bytes",
                &self.send_buffer_bytes.to_string(),
                reason,
            ));
        }
        if self.verify.in_flight_proven > MOST_IN_FLIGHT
            || self.verify.in_flight_unproven > self.verify.in_flight_proven
        {
            let reason = "must not be above 64, and in_flight_unproven not above in_flight_proven";
            return Err(refuse(
                "defence.verify.in_flight_proven",
                &self.verify.in_flight_proven.to_string(),
                reason,
            ));
        }
        Ok(())
    }

    /// The keys that must not be zero, and their values.
    fn positive(&self) -> Vec<(&'static str, u64)> {
        let mut positive = self.positive_limits();
        positive.extend([
            ("defence.lines_per_s", u64::from(self.lines_per_s)),
            ("defence.lines_burst", u64::from(self.lines_burst)),
            ("defence.conduct.half_life_s", self.reputation.half_life_s),
            (
                "defence.conduct.bans_before_address",
                u64::from(self.reputation.bans_before_address),
            ),
            (
                "defence.conduct.remembered",
                self.reputation.remembered as u64,
            ),
            ("defence.bans.first_s", self.bans.first_s),
            ("defence.bans.factor", u64::from(self.bans.factor)),
            ("defence.bans.most", self.bans.most as u64),
            (
                "defence.names.workers_per_wallet",
                self.names.workers_per_wallet as u64,
            ),
            ("defence.names.workers", self.names.workers as u64),
            (
                "defence.verify.in_flight_unproven",
                self.verify.in_flight_unproven as u64,
            ),
            (
                "defence.verify.in_flight_proven",
                self.verify.in_flight_proven as u64,
            ),
            (
                "defence.verify.queue_unproven",
                self.verify.queue_unproven as u64,
            ),
            (
                "defence.verify.budget_ms_per_s",
                u64::from(self.verify.budget_ms_per_s),
            ),
            (
                "defence.verify.budget_burst_ms",
                u64::from(self.verify.budget_burst_ms),
            ),
            ("defence.verify.overload_ms", self.verify.overload_ms),
        ]);
        positive
    }

    fn positive_limits(&self) -> Vec<(&'static str, u64)> {
        let limits = &self.limits;
        vec![
            (
                "defence.limits.connections_per_address",
                u64::from(limits.connections_per_address),
            ),
            (
                "defence.limits.connections_per_network",
                u64::from(limits.connections_per_network),
            ),
            (
                "defence.limits.pre_login_per_address",
                u64::from(limits.pre_login_per_address),
            ),
            (
                "defence.limits.pre_login_per_network",
                u64::from(limits.pre_login_per_network),
            ),
            (
                "defence.limits.logins_per_minute_address",
                u64::from(limits.logins_per_minute_address),
            ),
            (
                "defence.limits.logins_per_minute_network",
                u64::from(limits.logins_per_minute_network),
            ),
            (
                "defence.limits.connections_per_site",
                u64::from(limits.connections_per_site),
            ),
            (
                "defence.limits.pre_login_per_site",
                u64::from(limits.pre_login_per_site),
            ),
            (
                "defence.limits.logins_per_minute_site",
                u64::from(limits.logins_per_minute_site),
            ),
        ]
    }

    /// The blocks of `allow`.
    pub fn allowed(&self) -> Result<Vec<Cidr>, ConfigError> {
        let read = |text: &String| {
            text.parse::<Cidr>()
                .map_err(|error| refuse("defence.allow", text, &error.to_string()))
        };
        self.allow.iter().map(read).collect()
    }
}

/// Shares of one connection in flight, at most: each holds a task and its answer's place.
const MOST_IN_FLIGHT: usize = 64;

fn refuse(key: &'static str, value: &str, reason: &str) -> ConfigError {
    ConfigError {
        key,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}
