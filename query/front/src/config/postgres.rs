//! The `postgres` section of the configuration.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::TlsConfig;

/// The `postgres` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// The address to listen on, such as 127.0.0.1:5432; without one the wire is off. Anything but
    /// loopback needs `query.token_file`. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Connections that may be open, in all.
    pub max_connections: usize,
    /// Connections that may be open from one address, or one /64 of IPv6.
    pub max_connections_per_address: usize,
    /// How long a client may take from its connection to the end of its log-in, in milliseconds.
    pub login_timeout_ms: u64,
    /// How long a session may be silent, in seconds.
    pub idle_timeout_s: u64,
    /// The longest message of a client, in KiB.
    pub max_message_kib: usize,
    /// Whether a session in clear is refused.
    pub require_tls: bool,
    /// The certificate of the wire; with one a client may ask for TLS.
    pub tls: TlsConfig,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            listen: None,
            max_connections: 100,
            max_connections_per_address: 50,
            login_timeout_ms: 10_000,
            idle_timeout_s: 3_600,
            max_message_kib: 4_096,
            require_tls: false,
            tls: TlsConfig::default(),
        }
    }
}

/// Why the section is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PostgresConfigError {
    /// Anyone on the network could read everything.
    #[error(
        "postgres.listen is {0}, which is not a loopback address, but query.token_file is not set: \
         name a file with a token, or listen on 127.0.0.1"
    )]
    OpenToTheWorld(SocketAddr),
    /// Nobody could come in.
    #[error(
        "postgres.require_tls is set but postgres.tls names no certificate: set \
         postgres.tls.cert_file and key_file, which may be the files of query.tls"
    )]
    NoCertificate,
    /// A limit that nobody could keep.
    #[error("postgres.{key} is {value}; it must be from {least} to {most}")]
    Limit {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
}

impl PostgresConfig {
    /// Refuses what cannot work and what must not be. `has_reader_token` tells whether readers need
    /// a token.
    pub fn validate(&self, has_reader_token: bool) -> Result<(), PostgresConfigError> {
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && !has_reader_token
        {
            return Err(PostgresConfigError::OpenToTheWorld(listen));
        }
        if self.require_tls && !self.tls.is_on() {
            return Err(PostgresConfigError::NoCertificate);
        }
        let limits = [
            ("max_connections", self.max_connections as u64, 1, 100_000),
            (
                "max_connections_per_address",
                self.max_connections_per_address as u64,
                1,
                100_000,
            ),
            ("login_timeout_ms", self.login_timeout_ms, 100, 600_000),
            ("idle_timeout_s", self.idle_timeout_s, 1, 604_800),
            ("max_message_kib", self.max_message_kib as u64, 64, 65_536),
        ];
        for (key, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(PostgresConfigError::Limit {
                    key,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_wire_is_off_by_default_and_strangers_need_a_token() {
        let config = PostgresConfig::default();
        assert_eq!(config.listen, None);
        assert_eq!(config.validate(false), Ok(()));
        let open = PostgresConfig {
            listen: Some("0.0.0.0:5432".parse().unwrap()),
            ..config.clone()
        };
        assert!(
            open.validate(false)
                .unwrap_err()
                .to_string()
                .contains("token_file")
        );
        assert_eq!(open.validate(true), Ok(()));
        let closed = PostgresConfig {
            require_tls: true,
            ..open
        };
        assert_eq!(
            closed.validate(true),
            Err(PostgresConfigError::NoCertificate)
        );
        let none = PostgresConfig {
            max_message_kib: 1,
            ..config
        };
        assert!(
            none.validate(true)
                .unwrap_err()
                .to_string()
                .contains("max_message_kib")
        );
    }
}
