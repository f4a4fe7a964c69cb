//! `client.reconnect`: pushed at shutdown, so that miners go to the pool's successor at once
//! instead of finding out.
//!
//! XMRig obeys exactly one shape: two strings, host and port. Others ignore what they do not know.

use serde_json::json;
use std::fmt;

use crate::config_error::ConfigError;

/// Where miners go when this pool stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    host: String,
    port: u16,
}

impl Successor {
    /// Reads `host:port`; an IPv6 address stands in brackets.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = || ConfigError {
            key: "successor",
            value: text.to_owned(),
            reason:
                "write host:port, e.g. pool2.example.org:3333, with an IPv6 address in brackets"
                    .to_owned(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(refuse)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let known = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            }
        };
        if !known || host.len() > 253 {
            return Err(refuse());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// The line to push.
    pub fn line(&self) -> String {
        let mut line = json!({"jsonrpc": "2.0", "method": "client.reconnect", "params": [self.host,
            self.port.to_string()]})
        .to_string();
        line.push('\n');
        line
    }
}

impl fmt::Display for Successor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}
