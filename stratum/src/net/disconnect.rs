//! Why a connection ended, what its row says about it, and whether it is an offence.

use std::io::ErrorKind;

use crate::defence::refusal::Refusal;
use crate::defence::reputation::Offence;
use crate::protocol::line::LineError;

/// Why a connection ended.
#[derive(Debug)]
#[allow(
    dead_code,
    reason = "the fields are read by the Debug form that the log prints"
)]
pub(crate) enum Disconnect {
    Closed,
    Malformed,
    LoginTimeout,
    Idle,
    Shutdown,
    NothingToMine,
    Stalled,
    Banned,
    Shed,
    GaveWay,
    Refused(Refusal, String),
    Line(String),
    Write(String),
}

impl From<LineError> for Disconnect {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong(_) => Disconnect::Line(error.to_string()),
            LineError::Io(error) => Disconnect::broken(error),
        }
    }
}

impl Disconnect {
    /// The socket failed, which is no offence. XMRig never takes leave of TLS, so that each of its
    /// sessions over TLS ends so.
    pub(crate) fn broken(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted => Disconnect::Closed,
            _ => Disconnect::Write(error.to_string()),
        }
    }
}

impl Disconnect {
    /// The connection is refused with the reason's own words.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Disconnect::Refused(refusal, refusal.to_string())
    }

    /// Why a miner whose connection ended before its login was answered cannot mine. `None` when
    /// it left of its own accord or the pool stops.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Disconnect::Refused(refusal, _) => Some(*refusal),
            Disconnect::Malformed => Some(Refusal::Malformed),
            Disconnect::Line(_) => Some(Refusal::LineTooLong),
            Disconnect::LoginTimeout => Some(Refusal::LoginTimeout),
            Disconnect::Stalled => Some(Refusal::SlowReader),
            Disconnect::NothingToMine => Some(Refusal::NoWork),
            Disconnect::Closed
            | Disconnect::Idle
            | Disconnect::Shutdown
            | Disconnect::Banned
            | Disconnect::Shed
            | Disconnect::GaveWay
            | Disconnect::Write(_) => None,
        }
    }
}

/// The words in the `sessions` row.
pub(crate) fn reason(end: &Disconnect) -> String {
    match end {
        Disconnect::Closed => "closed by the miner".to_owned(),
        Disconnect::Malformed => "sent a line that is no request".to_owned(),
        Disconnect::LoginTimeout => "did not log in in time".to_owned(),
        Disconnect::Idle => "silent for too long".to_owned(),
        Disconnect::Shutdown => "the pool stopped".to_owned(),
        Disconnect::NothingToMine => "the pool had nothing to mine".to_owned(),
        Disconnect::Stalled => "did not read".to_owned(),
        Disconnect::Banned => "banned".to_owned(),
        Disconnect::GaveWay => {
            "gave way to another: the pool is full and it had sent no good share".to_owned()
        }
        Disconnect::Shed => "too many wrong results came from its address".to_owned(),
        Disconnect::Refused(_, reason) | Disconnect::Line(reason) | Disconnect::Write(reason) => {
            reason.clone()
        }
    }
}

/// The offence that an end before login is. A refused login is none: its owner is to correct it and
/// come again.
pub(crate) fn before_login(end: &Disconnect) -> Option<Offence> {
    match end {
        Disconnect::Malformed | Disconnect::Line(_) => Some(Offence::PreLoginJunk),
        Disconnect::LoginTimeout => Some(Offence::PreLoginSilence),
        Disconnect::Stalled => Some(Offence::SlowReader),
        _ => None,
    }
}

/// The offence that an end after login is.
pub(crate) fn after_login(end: &Disconnect) -> Option<Offence> {
    match end {
        Disconnect::Malformed | Disconnect::Line(_) => Some(Offence::MalformedLine),
        Disconnect::Stalled => Some(Offence::SlowReader),
        _ => None,
    }
}
