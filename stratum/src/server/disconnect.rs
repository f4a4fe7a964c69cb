//! What the end of a connection says: in its row, and whether it is an offence.

use super::session::Disconnect;
use crate::defence::reputation::Offence;

/// The words in the `sessions` row.
pub(super) fn reason(end: &Disconnect) -> String {
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
pub(super) fn before_login(end: &Disconnect) -> Option<Offence> {
    match end {
        Disconnect::Malformed | Disconnect::Line(_) => Some(Offence::PreLoginJunk),
        Disconnect::LoginTimeout => Some(Offence::PreLoginSilence),
        Disconnect::Stalled => Some(Offence::SlowReader),
        _ => None,
    }
}

/// The offence that an end after login is.
pub(super) fn after_login(end: &Disconnect) -> Option<Offence> {
    match end {
        Disconnect::Malformed | Disconnect::Line(_) => Some(Offence::MalformedLine),
        Disconnect::Stalled => Some(Offence::SlowReader),
        _ => None,
    }
}
