//! File descriptors for HTTP connections: what miners, tables, the spool and NATS do not need.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors for everything that is neither a miner nor an HTTP connection.
const RESERVED: u64 = 512;
/// What HTTP connections may take of the reserve where nothing else is left.
const SHARE_OF_RESERVE: u64 = RESERVED / 4;

/// How many of the wanted HTTP connections this process may have beside so many miners. Its soft
/// limit is raised to the hard one first.
pub fn http_connections(wanted: usize, miners: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where that is not allowed, the soft limit is what there is.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let allowed = fitting(wanted, miners, getrlimit(Resource::Nofile).current);
    if allowed < wanted {
        tracing::warn!(
            wanted,
            allowed,
            "query.max_connections is lowered to what the limit of open files leaves"
        );
    }
    allowed
}

/// The same under this limit of open files; `None` is no limit.
fn fitting(wanted: usize, miners: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else {
        return wanted;
    };
    let left = limit.saturating_sub(RESERVED + miners as u64);
    usize::try_from(left.max(SHARE_OF_RESERVE)).map_or(wanted, |left| left.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn connections_leave_descriptors_for_tables_and_miners() {
        assert_eq!(fitting(1_024, 0, None), 1_024);
        assert_eq!(fitting(1_024, 10_000, Some(1 << 20)), 1_024);
        assert_eq!(fitting(1_024, 0, Some(1_024)), 512);
        assert_eq!(fitting(1_024, 3_500, Some(4_096)), 128);
        assert_eq!(fitting(1_024, 500, Some(1_512)), 500);
        assert_eq!(fitting(16, 0, Some(256)), 16);
    }
}
