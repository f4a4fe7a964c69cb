//! The section `[stratum.opensy]`: how to reach the node, and the rules of its chain that it does
//! not tell.
//!
//! Secrets are never part of it: the password is in a file or in the environment, the cookie in the
//! node's own file.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::address::Network;
use super::keys::{KeySchedule, OPENSY_INTERVAL};
use crate::config_error::ConfigError;

/// The environment variable that holds the RPC password; it goes before the file.
pub const PASSWORD_VARIABLE: &str = "HEADFRAME_OPENSY_RPC_PASSWORD";
const MAX_ALGO: usize = 32;

/// The section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpensySettings {
    /// The node's RPC: port 9632, on testnet 19632, on regtest 18443.
    pub rpc_url: String,
    /// Several nodes in the order of preference, instead of `rpc_url`, with the same user and
    /// password.
    pub rpc_urls: Vec<String>,
    /// The user of the RPC; the password is in `rpc_password_file` or in
    /// `HEADFRAME_OPENSY_RPC_PASSWORD`.
    pub rpc_user: String,
    /// A file with the password and nothing else.
    pub rpc_password_file: Option<PathBuf>,
    /// The node's `.cookie`, instead of user and password; read again whenever the node has written
    /// a new one.
    pub rpc_cookie_file: Option<PathBuf>,
    /// The name miners must know this proof of work by. Never one that a stock miner knows: it
    /// would burn power.
    pub algo: String,
    /// Blocks between two RandomX keys.
    pub key_interval: u64,
    /// The first height that is worked on with RandomX; by default 210000 on mainnet, 1 on test
    /// networks, 10000 on regtest.
    pub fork_height: Option<u64>,
}

impl Default for OpensySettings {
    fn default() -> Self {
        Self {
            rpc_url: "http://127.0.0.1:9632".to_owned(),
            rpc_urls: Vec::new(),
            rpc_user: String::new(),
            rpc_password_file: None,
            rpc_cookie_file: None,
            algo: "rx/opensy".to_owned(),
            key_interval: OPENSY_INTERVAL,
            fork_height: None,
        }
    }
}

impl OpensySettings {
    /// Refuses what could only fail later.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let url_ok = |url: &String| {
            reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        };
        let key = if self.rpc_urls.is_empty() {
            "opensy.rpc_url"
        } else {
            "opensy.rpc_urls"
        };
        if let Some(url) = self.nodes_in_order().iter().find(|url| !url_ok(url)) {
            return Err(refuse(key, url, "write it as http://host:port"));
        }
        if self.rpc_cookie_file.is_some() && self.rpc_urls.len() > 1 {
            return Err(refuse(
                "opensy.rpc_cookie_file",
                "set",
                "each node writes a cookie of its own; give several nodes one user and password",
            ));
        }
        if self.rpc_cookie_file.is_some()
            && (!self.rpc_user.is_empty() || self.rpc_password_file.is_some())
        {
            return Err(refuse(
                "opensy.rpc_cookie_file",
                "set",
                "a cookie replaces rpc_user and rpc_password_file; give one of the two",
            ));
        }
        if self.rpc_password_file.is_some() && self.rpc_user.is_empty() {
            return Err(refuse(
                "opensy.rpc_user",
                "\"\"",
                "rpc_password_file needs a user",
            ));
        }
        let plain = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '/' | '-' | '_' | '.')
        };
        if self.algo.is_empty() || self.algo.len() > MAX_ALGO || !self.algo.chars().all(plain) {
            return Err(refuse(
                "opensy.algo",
                &self.algo,
                "use 1 to 32 small letters, digits, slashes, dots or dashes",
            ));
        }
        if is_stock(&self.algo) {
            let reason = "stock miners know this name and would write the nonce where it is worth \
                          nothing; use another, e.g. rx/opensy";
            return Err(refuse("opensy.algo", &self.algo, reason));
        }
        if self.key_interval == 0 {
            return Err(refuse("opensy.key_interval", "0", "must be at least 1"));
        }
        if self.fork_height == Some(0) {
            return Err(refuse(
                "opensy.fork_height",
                "0",
                "must be at least 1: a genesis block is not mined",
            ));
        }
        Ok(())
    }

    /// The nodes' addresses, the preferred one first.
    pub fn nodes_in_order(&self) -> Vec<String> {
        if self.rpc_urls.is_empty() {
            vec![self.rpc_url.clone()]
        } else {
            self.rpc_urls.clone()
        }
    }

    /// The chain's key schedule on a network.
    pub fn schedule(&self, network: Network) -> KeySchedule {
        let usual = match network {
            Network::Mainnet => 210_000,
            Network::Testnet => 1,
            Network::Regtest => 10_000,
        };
        KeySchedule {
            interval: self.key_interval,
            fork_height: self.fork_height.unwrap_or(usual),
        }
    }
}

/// Names of the RandomX family that XMRig 6.26 knows.
fn is_stock(algo: &str) -> bool {
    matches!(
        algo,
        "rx/0"
            | "rx/2"
            | "rx/wow"
            | "rx/arq"
            | "rx/graft"
            | "rx/sfx"
            | "rx/yada"
            | "rx/keva"
            | "randomx"
            | "rx"
    )
}

fn refuse(key: &'static str, value: &str, reason: &str) -> ConfigError {
    ConfigError {
        key,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}
