//! Means over intervals of the wall clock, as programs settle by.

use serde::Serialize;

use super::Event;
use crate::control::observation::MeterReading;

const QUARTER_US: i64 = 900_000_000;

/// What the meter said in an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    /// Which one since 1970.
    pub(super) number: i64,
    /// The mean, weighted by time.
    pub(super) mean_kw: f64,
    /// Seconds of it that are metered.
    pub(super) metered_s: f64,
}

/// The mean of readings that lie in each interval of the wall clock; each reading stands until the
/// next.
pub(super) fn intervals(meter: &[MeterReading], length_us: i64) -> Vec<Interval> {
    let mut found: Vec<Interval> = Vec::new();
    for pair in meter.windows(2) {
        let seconds = pair[1].at.ms_since(pair[0].at) as f64 / 1_000.0;
        let number = pair[0].at.utc_us.div_euclid(length_us);
        match found.last_mut() {
            // The sum, until all of it is known.
            Some(last) if last.number == number => {
                last.mean_kw += pair[0].kw * seconds;
                last.metered_s += seconds;
            }
            _ => found.push(Interval {
                number,
                mean_kw: pair[0].kw * seconds,
                metered_s: seconds,
            }),
        }
    }
    found.retain(|one| one.metered_s > 0.0);
    for one in &mut found {
        one.mean_kw /= one.metered_s;
    }
    found
}

/// A quarter hour, or the part of it between deadline and release.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quarter {
    /// When the quarter hour begins, microseconds since 1970.
    pub begins_us: i64,
    /// When it ends.
    pub ends_us: i64,
    /// Seconds of it that are metered and count.
    pub metered_s: f64,
    /// Samples that count.
    pub samples: usize,
    /// Samples at or below the target.
    pub under_target: usize,
    /// The mean power.
    pub mean_kw: f64,
    /// The highest sample.
    pub highest_kw: f64,
    /// The share of the obligation that was met, 0 to 1; none where nothing was obliged.
    pub factor: Option<f64>,
}

/// The quarter hours of an event, of the samples between its deadline and its release.
///
/// The factor of a quarter hour is `(baseline - mean) / (baseline - target)`, no less than 0 and no
/// more than 1, as in ERCOT's emergency response service; that of the event is their mean, weighted
/// by `metered_s`.
pub fn quarters(event: &Event, bound: &[MeterReading]) -> Vec<Quarter> {
    let obligation_kw = event.baseline_kw - event.target_kw;
    let quarter = |one: Interval| {
        let is_own = |sample: &&MeterReading| sample.at.utc_us.div_euclid(QUARTER_US) == one.number;
        let own = || bound.iter().filter(is_own);
        let met = (event.baseline_kw - one.mean_kw) / obligation_kw;
        Quarter {
            begins_us: one.number * QUARTER_US,
            ends_us: (one.number + 1) * QUARTER_US,
            metered_s: one.metered_s,
            samples: own().count(),
            under_target: own().filter(|sample| sample.kw <= event.target_kw).count(),
            mean_kw: one.mean_kw,
            highest_kw: own().map(|sample| sample.kw).fold(0.0, f64::max),
            factor: (obligation_kw > 0.0).then(|| met.clamp(0.0, 1.0)),
        }
    };
    intervals(bound, QUARTER_US)
        .into_iter()
        .map(quarter)
        .collect()
}
