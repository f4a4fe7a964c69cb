//! Why a connection or a login is not let in: one list, from which the metric's label and the
//! miner's message come.

use thiserror::Error;

/// The reason. The messages never begin with words on which XMRig drops its other pools.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `max_sessions` are open.
    #[error("The pool is full, try again later")]
    Full,
    /// `connections_per_address`.
    #[error("Too many connections from your address, use a proxy or try again later")]
    ConnectionsOfAddress,
    /// `connections_per_network`.
    #[error("Too many connections from your network, try again later")]
    ConnectionsOfNetwork,
    /// `pre_login_per_address`.
    #[error("Too many connections from your address that do not log in")]
    PreLoginOfAddress,
    /// `pre_login_per_network`.
    #[error("Too many connections from your network that do not log in")]
    PreLoginOfNetwork,
    /// `logins_per_minute_address`.
    #[error("Too many logins from your address, try again in a minute")]
    PaceOfAddress,
    /// `logins_per_minute_network`.
    #[error("Too many logins from your network, try again in a minute")]
    PaceOfNetwork,
    /// The address or its network is banned.
    #[error("Your address is banned from this pool for now")]
    BannedAddress,
    /// The wallet, worker and address together are banned.
    #[error(
        "This worker is banned from your address for now: it sent too much that was no work; check its hardware and software"
    )]
    BannedSession,
}

impl Refusal {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::ConnectionsOfAddress => "connections_of_address",
            Refusal::ConnectionsOfNetwork => "connections_of_network",
            Refusal::PreLoginOfAddress => "pre_login_of_address",
            Refusal::PreLoginOfNetwork => "pre_login_of_network",
            Refusal::PaceOfAddress => "pace_of_address",
            Refusal::PaceOfNetwork => "pace_of_network",
            Refusal::BannedAddress => "banned_address",
            Refusal::BannedSession => "banned_session",
        }
    }
}
