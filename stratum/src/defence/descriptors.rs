//! File descriptors: one a connection, and the process gets them at start or says why not.
//!
//! A pool that finds out under load that it has none left refuses miners it had space for, and
//! cannot open its own files.

use rustix::process::{Resource, getrlimit, setrlimit};
use thiserror::Error;

/// Descriptors for everything that is no miner's connection: tables, HTTP, JetStream, logs.
pub const RESERVE: u64 = 512;

/// Why there are too few.
#[derive(Debug, Error)]
pub enum DescriptorError {
    /// The hard limit, which only root or the service manager can raise.
    #[error(
        "stratum.max_sessions = {max_sessions} needs {required} file descriptors, of which \
         {RESERVE} are for everything else, but this process may open {hard}; set max_sessions to \
         {fits} or raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of \
         docker)"
    )]
    TooFew {
        max_sessions: usize,
        required: u64,
        hard: u64,
        fits: u64,
    },
    /// The system's answer.
    #[error("cannot raise the limit of open files from {from} to {to}: {reason}")]
    Raise {
        from: u64,
        to: u64,
        reason: std::io::Error,
    },
}

/// Checks that so many sessions fit under a hard limit; `None` is no limit.
pub fn fits(max_sessions: usize, hard: Option<u64>) -> Result<(), DescriptorError> {
    let required = (max_sessions as u64).saturating_add(RESERVE);
    match hard {
        Some(hard) if required > hard => Err(DescriptorError::TooFew {
            max_sessions,
            required,
            hard,
            fits: hard.saturating_sub(RESERVE),
        }),
        _ => Ok(()),
    }
}

/// Raises the process's soft limit to its hard one and says what it is now; `None` is no limit.
pub fn raise(max_sessions: usize) -> Result<Option<u64>, DescriptorError> {
    let mut limit = getrlimit(Resource::Nofile);
    fits(max_sessions, limit.maximum)?;
    if limit.current != limit.maximum {
        let raise = |from: u64, to: u64, reason| DescriptorError::Raise { from, to, reason };
        let from = limit.current.unwrap_or(u64::MAX);
        limit.current = limit.maximum;
        let to = limit.maximum.unwrap_or(u64::MAX);
        setrlimit(Resource::Nofile, limit).map_err(|errno| raise(from, to, errno.into()))?;
    }
    Ok(limit.maximum)
}
