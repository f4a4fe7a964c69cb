//! Ports: each address miners connect to, with the difficulty its miners begin at.
//!
//! One pool serves a laptop and a farm behind a proxy. Ports let the operator advertise a
//! difficulty without teaching miners to write it into their login.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::SocketAddr;

use crate::config_error::ConfigError;
use crate::work::vardiff;

/// An entry of `stratum.ports`. What is left out is as in the section `[stratum]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// Where miners connect.
    pub listen: SocketAddr,
    /// Hashes a share costs a miner that just logged in.
    pub start_difficulty: Option<u64>,
    /// Hashes every share costs on this port; difficulty then follows nobody, and a login's own
    /// wish still counts.
    pub fixed_difficulty: Option<u64>,
    /// Never below.
    pub min_difficulty: Option<u64>,
    /// Never above.
    pub max_difficulty: Option<u64>,
    /// Whether every miner here gets NiceHash jobs, with the nonce's last byte fixed.
    #[serde(default)]
    pub nicehash: bool,
    /// How its miners' blocks are paid.
    #[serde(default)]
    pub scheme: PortScheme,
}

/// How the blocks of a port's miners are paid. On any port a login may ask for solo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortScheme {
    /// As the pool's blocks are.
    #[default]
    Pool,
    /// To the miner who found it, whose shares count in no window.
    Solo,
}

/// A port as its sessions see it, everything decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Where miners connect.
    pub listen: SocketAddr,
    /// Hashes a first share costs.
    pub start_difficulty: u64,
    /// Hashes every share costs, unless the login wishes otherwise.
    pub fixed_difficulty: Option<u64>,
    /// How difficulty follows each miner.
    pub vardiff: vardiff::VardiffSettings,
    /// Whether every miner gets NiceHash jobs.
    pub nicehash: bool,
    /// Whether every miner mines solo.
    pub solo: bool,
}

impl Port {
    /// Refuses ports that could not be bound or whose bounds contradict each other.
    pub fn validate(ports: Vec<Self>) -> Result<(), ConfigError> {
        let mut taken = HashSet::new();
        for port in ports {
            let refuse = |reason: &str| ConfigError {
                key: "ports",
                value: port.listen.to_string(),
                reason: reason.to_owned(),
            };
            if port.listen.port() != 0 && !taken.insert(port.listen) {
                return Err(refuse(
                    "this address is there twice; each port needs its own, also beside \
                     stratum.listen",
                ));
            }
            let (min, max) = (port.vardiff.min_difficulty, port.vardiff.max_difficulty);
            if min == 0 || max < min || i64::try_from(max).is_err() {
                return Err(refuse(
                    "min_difficulty must be at least 1 and max_difficulty between it and \
                     9223372036854775807",
                ));
            }
            let within = |difficulty: u64| (min..=max).contains(&difficulty);
            if !port.fixed_difficulty.is_none_or(within) {
                return Err(refuse(
                    "fixed_difficulty must lie between the port's min_difficulty and \
                     max_difficulty",
                ));
            }
            if port.start_difficulty == 0 {
                return Err(refuse("start_difficulty must be at least 1"));
            }
        }
        Ok(())
    }
}
