//! Why a connection to a pool ended, or did not come about.

use thiserror::Error;

use super::event::{self, MinerEvent};
use crate::protocol::line::LineError;

/// Why a connection to a pool ended.
#[derive(Debug, Error)]
pub enum Broken {
    /// It could not be made.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
    /// The pool's words to the login.
    #[error("the pool refused the login: {0}")]
    Login(String),
    /// Work that cannot be done.
    #[error("the pool gives work for the algorithm {0:?}, which this miner does not have")]
    Algo(String),
    /// A line that would make XMRig close, or worse.
    #[error("the pool sent what XMRig would not accept: {0}")]
    Protocol(&'static str),
    /// Nothing came.
    #[error("the pool said nothing for {0} s")]
    Silent(u64),
    /// The pool wants the miner elsewhere.
    #[error("the pool sends its miners to {0}")]
    Moved(String),
    /// A better pool is there again.
    #[error("the pool {0} is back and comes first")]
    Returned(String),
    /// There is nothing left to search.
    #[error("all nonces of the job are used up; logging in again for another")]
    Exhausted,
    /// The pool's words to a share after which miners leave, as XMRig does.
    #[error("the pool refused a share for good: {0}")]
    Critical(String),
    /// The miner ends.
    #[error("the miner stops")]
    Stopped,
    /// The end of the stream.
    #[error("the pool closed the connection")]
    Closed,
    /// Reading failed.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Writing failed.
    #[error("sending failed: {0}")]
    Send(#[from] std::io::Error),
}

/// Words to a share after which XMRig leaves.
const CRITICAL: [&str; 4] = [
    "unauthenticated",
    "your ip is banned",
    "ip address currently banned",
    "invalid job id",
];

/// Whether a share that is refused in these words ends the connection.
pub(super) fn is_critical(refusal: &str) -> bool {
    let refusal = refusal.to_lowercase();
    CRITICAL.iter().any(|words| refusal.starts_with(words))
}

impl Broken {
    /// Whether the miner leaves in order, so that the pool can still answer what it was sent.
    pub(super) fn is_departure(&self) -> bool {
        matches!(
            self,
            Broken::Moved(_) | Broken::Returned(_) | Broken::Exhausted | Broken::Stopped
        )
    }

    /// What a miner's owner is told.
    pub(super) fn event(&self, pool: String) -> MinerEvent {
        match self {
            Broken::Login(reason) => MinerEvent::Refused {
                pool,
                reason: reason.clone(),
                for_good: event::is_for_good(reason),
            },
            Broken::Algo(_) => MinerEvent::Refused {
                pool,
                reason: self.to_string(),
                for_good: true,
            },
            Broken::Connect(_, reason) => MinerEvent::Lost {
                pool,
                reason: reason.clone(),
            },
            other => MinerEvent::Lost {
                pool,
                reason: other.to_string(),
            },
        }
    }
}
