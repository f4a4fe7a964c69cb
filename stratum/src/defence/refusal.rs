//! Why a connection or a login is not let in: one list, from which the metric's label, the row's
//! column and the miner's message come.

use thiserror::Error;

/// The reason. The messages never begin with words on which XMRig drops its other pools. Those of
/// the second half are said in more words where they are found.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// `connections_per_site`.
    #[error("Too many connections from your IPv6 site, try again later")]
    ConnectionsOfSite,
    /// `pre_login_per_site`.
    #[error("Too many connections from your IPv6 site that do not log in")]
    PreLoginOfSite,
    /// `logins_per_minute_site`.
    #[error("Too many logins from your IPv6 site, try again in a minute")]
    PaceOfSite,
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
        "This worker is banned from your address for now: it sent too much that was no work; \
         check its hardware and software"
    )]
    BannedSession,
    /// A PROXY header where none is taken, or a bad one.
    #[error("The PROXY protocol header is not taken")]
    ProxyHeader,
    /// A TLS handshake, while TLS is off.
    #[error("TLS is not switched on")]
    TlsOff,
    /// The TLS handshake failed.
    #[error("The TLS handshake failed")]
    TlsFailed,
    /// There is no template.
    #[error("The pool has nothing to mine yet; try again later")]
    NoWork,
    /// The wallet cannot be paid on this chain.
    #[error("Invalid wallet address")]
    BadAddress,
    /// The miner cannot do the pool's algorithm.
    #[error("The miner does not have this pool's algorithm")]
    BadAlgorithm,
    /// The first line is another command, or its parameters have the wrong shape.
    #[error("The first command must be a login")]
    NotALogin,
    /// The first line is no request.
    #[error("The first line is not a JSON request")]
    Malformed,
    /// The first line does not end.
    #[error("The first line is too long")]
    LineTooLong,
    /// No login within `login_timeout_s`.
    #[error("No login came in time")]
    LoginTimeout,
    /// The answer was not read within `write_timeout_s`.
    #[error("The answer was not read in time")]
    SlowReader,
}

impl Refusal {
    /// Every reason, which bounds the metric's labels.
    pub const ALL: [Refusal; 23] = [
        Refusal::Full,
        Refusal::ConnectionsOfAddress,
        Refusal::ConnectionsOfNetwork,
        Refusal::PreLoginOfAddress,
        Refusal::PreLoginOfNetwork,
        Refusal::PaceOfAddress,
        Refusal::PaceOfNetwork,
        Refusal::ConnectionsOfSite,
        Refusal::PreLoginOfSite,
        Refusal::PaceOfSite,
        Refusal::BannedAddress,
        Refusal::BannedSession,
        Refusal::ProxyHeader,
        Refusal::TlsOff,
        Refusal::TlsFailed,
        Refusal::NoWork,
        Refusal::BadAddress,
        Refusal::BadAlgorithm,
        Refusal::NotALogin,
        Refusal::Malformed,
        Refusal::LineTooLong,
        Refusal::LoginTimeout,
        Refusal::SlowReader,
    ];

    /// The metric's label and the row's `refusal`.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::ConnectionsOfAddress => "connections_of_address",
            Refusal::ConnectionsOfNetwork => "connections_of_network",
            Refusal::PreLoginOfAddress => "pre_login_of_address",
            Refusal::PreLoginOfNetwork => "pre_login_of_network",
            Refusal::PaceOfAddress => "pace_of_address",
            Refusal::PaceOfNetwork => "pace_of_network",
            Refusal::ConnectionsOfSite => "connections_of_site",
            Refusal::PreLoginOfSite => "pre_login_of_site",
            Refusal::PaceOfSite => "pace_of_site",
            Refusal::BannedAddress => "banned_address",
            Refusal::BannedSession => "banned_session",
            Refusal::ProxyHeader => "proxy_header",
            Refusal::TlsOff => "tls_off",
            Refusal::TlsFailed => "tls_failed",
            Refusal::NoWork => "no_work",
            Refusal::BadAddress => "bad_address",
            Refusal::BadAlgorithm => "bad_algorithm",
            Refusal::NotALogin => "not_a_login",
            Refusal::Malformed => "malformed",
            Refusal::LineTooLong => "line_too_long",
            Refusal::LoginTimeout => "login_timeout",
            Refusal::SlowReader => "slow_reader",
        }
    }

    /// Whether the operator, not the miner, must do something about it.
    pub fn is_for_operator(self) -> bool {
        matches!(
            self,
            Refusal::Full | Refusal::ProxyHeader | Refusal::TlsOff | Refusal::NoWork
        )
    }
}
