//! What a server allows its connections.

use std::time::Duration;

/// How many connections there may be, and how long each may take for what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Connections in all; those of `kept_for_local` are not among them.
    pub max: usize,
    /// Connections from one address, or one /64 of IPv6.
    pub max_per_address: usize,
    /// So many further places are for this machine's own programs alone, and a connection that
    /// waits without asking anything makes way where a limit would refuse another one.
    pub kept_for_local: Option<usize>,
    /// Between the first byte of a request and the end of its head. A new connection has as long
    /// for its handshake and its first request together.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the whole body of a request.
    pub body: Duration,
    /// Without taking a byte of an answer.
    pub write: Duration,
    /// The metric that shows how many are open.
    pub gauge: &'static str,
    /// The section of the configuration with these limits, where there is one.
    pub section: Option<&'static str>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            max: 1_024,
            max_per_address: 256,
            kept_for_local: None,
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(60),
            write: Duration::from_secs(30),
            gauge: "headframe_http_connections",
            section: None,
        }
    }
}

impl ConnectionSettings {
    /// What to do about a limit: `otherwise`, and where its key is when it can be set.
    pub(super) fn hint(&self, otherwise: &str, key: &str) -> String {
        match self.section {
            Some(section) => format!("{otherwise}, or raise {section}.{key}"),
            None => otherwise.to_owned(),
        }
    }
}

/// Files and connections that this process may have open, by `/proc/self/limits`.
pub fn open_files_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
