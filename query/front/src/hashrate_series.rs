//! Hashrate over time as numbers, which charts and sparklines draw.

/// Hashrate over time, oldest first. Before the first point nothing is known; between points that
/// are further apart than a step there was nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct HashrateSeries {
    /// Where it begins, seconds since 1970.
    pub from_s: i64,
    /// Now.
    pub to_s: i64,
    /// Seconds from point to point.
    pub step_s: i64,
    /// The beginning of a step, and hashes a second in it.
    pub points: Vec<(i64, f64)>,
}
