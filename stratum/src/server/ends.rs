//! What the end of a connection says: in its row, and about its conduct.

use super::session::End;
use crate::defence::conduct::Offence;

/// The words in the `sessions` row.
pub(super) fn reason(end: &End) -> String {
    match end {
        End::Closed => "closed by the miner".to_owned(),
        End::Malformed => "sent a line that is no request".to_owned(),
        End::LoginTimeout => "did not log in in time".to_owned(),
        End::Idle => "silent for too long".to_owned(),
        End::Shutdown => "the pool stopped".to_owned(),
        End::NothingToMine => "the pool had nothing to mine".to_owned(),
        End::Stalled => "did not read".to_owned(),
        End::Banned => "banned".to_owned(),
        End::Shed => "too many wrong results came from its address".to_owned(),
        End::Refused(reason) | End::Line(reason) | End::Write(reason) => reason.clone(),
    }
}

/// The offence that an end before login is. A refused login is none: its owner is to correct it and
/// come again.
pub(super) fn before_login(end: &End) -> Option<Offence> {
    match end {
        End::Malformed | End::Line(_) => Some(Offence::PreLoginJunk),
        End::LoginTimeout => Some(Offence::PreLoginSilence),
        End::Stalled => Some(Offence::SlowReader),
        _ => None,
    }
}

/// The offence that an end after login is.
pub(super) fn after_login(end: &End) -> Option<Offence> {
    match end {
        End::Malformed | End::Line(_) => Some(Offence::MalformedLine),
        End::Stalled => Some(Offence::SlowReader),
        _ => None,
    }
}
