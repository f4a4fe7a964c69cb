//! Where a step over the rows of a table ends.

use headframe_sinks::Snapshot;

/// The sequence with which a step of about `rows` rows ends.
pub(super) fn step_end(snapshot: &Snapshot, after: i64, through: i64, rows: i64) -> i64 {
    let files = snapshot.files.iter();
    let ranges = files.filter_map(|file| Some((file.seq_range()?, file.rows)));
    let mut ranges: Vec<((i64, i64), i64)> =
        ranges.filter(|((_, high), _)| *high > after).collect();
    ranges.sort_unstable();
    let mut taken = 0;
    for ((low, high), count) in ranges {
        let low = low.max(after + 1);
        if taken + count >= rows {
            // Messages have about as many rows each.
            let messages = (high - low + 1) * (rows - taken) / count.max(1);
            return (low + messages.max(1) - 1).clamp(after + 1, through);
        }
        taken += count;
    }
    through
}
