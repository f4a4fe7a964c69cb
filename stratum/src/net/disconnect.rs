//! Why a connection ended, what its row says about it, and whether it is an offence.

use std::io::ErrorKind;

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
    Refused(String),
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
        Disconnect::Shed => "too many wrong results came from its address".to_owned(),
        Disconnect::Refused(reason) | Disconnect::Line(reason) | Disconnect::Write(reason) => {
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
