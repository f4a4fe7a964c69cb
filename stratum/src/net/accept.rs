//! What a failed accept means: a peer that was gone before it came, or a lack that only time mends.

use rustix::io::Errno;
use std::io;

/// Between two complaints about a lack.
const QUIET: std::time::Duration = std::time::Duration::from_secs(10);

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// This connection only; the next one is waiting.
    Peer,
    /// Descriptors or kernel memory.
    Lack,
    /// Something else, which would fail again at once.
    Other,
}

impl Failure {
    /// Reads the system's answer, see accept(2).
    pub(crate) fn from_error(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Failure::Lack,
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP,
            ) => Failure::Peer,
            _ => Failure::Other,
        }
    }

    /// The metric's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Failure::Peer => "peer",
            Failure::Lack => "lack",
            Failure::Other => "other",
        }
    }
}

/// Counts failures, and complains now and then.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    warned: Option<std::time::Instant>,
}

impl Failures {
    /// Notes a failure; says whether accepting should pause.
    pub(crate) fn note(&mut self, error: &io::Error) -> bool {
        let failure = Failure::from_error(error);
        metrics::counter!("headframe_stratum_accept_failures_total", "cause" => failure.as_str())
            .increment(1);
        if failure == Failure::Peer {
            return false;
        }
        if self.warned.is_none_or(|at| at.elapsed() > QUIET) {
            self.warned = Some(std::time::Instant::now());
            tracing::warn!(%error, cause = failure.as_str(), "connections cannot be accepted; if \
                                                              it is a lack of descriptors, lower \
                                                              max_sessions");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_or_the_unknown_makes_accepting_pause() {
        let of =
            |errno: Errno| Failure::from_error(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert_eq!(
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(of),
            [Failure::Lack; 3]
        );
        assert_eq!(
            [Errno::CONNABORTED, Errno::CONNRESET, Errno::PERM].map(of),
            [Failure::Peer; 3]
        );
        assert_eq!(of(Errno::BADF), Failure::Other);
        assert_eq!(
            Failure::from_error(&io::Error::other("no errno")),
            Failure::Other
        );
        let mut failures = Failures::default();
        assert!(!failures.note(&io::Error::from_raw_os_error(
            Errno::CONNABORTED.raw_os_error()
        )));
        assert!(failures.note(&io::Error::from_raw_os_error(Errno::MFILE.raw_os_error())));
    }
}
