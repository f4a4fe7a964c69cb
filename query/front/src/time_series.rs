//! A quantity over time as numbers, which charts and sparklines draw.

/// A quantity over time, oldest first. Before the first point nothing is known; between points that
/// are further apart than a step there was nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimeSeries {
    /// Where it begins, seconds since 1970.
    pub from_s: i64,
    /// Where it ends: now, unless a past time was asked for.
    pub to_s: i64,
    /// Seconds from point to point.
    pub step_s: i64,
    /// The beginning of a step, and the mean value of it.
    pub points: Vec<(i64, f64)>,
}
