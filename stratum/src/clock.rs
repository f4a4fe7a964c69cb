//! The wall clock, as rows state it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, for rows.
pub(crate) fn unix_time_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
