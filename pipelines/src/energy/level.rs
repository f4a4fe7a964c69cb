//! How near a limit something is, and when it will be reached.

use serde::{Deserialize, Serialize};

/// A level falls only when the value is this many points below where it begins.
pub const HYSTERESIS_PCT: f64 = 2.0;

/// From which part of a limit on something is a warning, and from which on it is critical.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Hundredths of the limit, itself included.
    pub warning_pct: f64,
    /// Hundredths of the limit, itself included.
    pub critical_pct: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            warning_pct: 80.0,
            critical_pct: 95.0,
        }
    }
}

impl Thresholds {
    /// Refuses values that cannot work.
    pub fn validate(&self) -> Result<(), String> {
        let (warning, critical) = (self.warning_pct, self.critical_pct);
        match 0.0 < warning && warning <= critical && critical <= 1_000.0 {
            true => Ok(()),
            false => Err(format!(
                "pipelines.allocation.warning_pct is {warning} and critical_pct {critical}; they \
                 must lie above 0, the first at most the second, and at most 1000"
            )),
        }
    }
}

/// How near a limit something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Below what is worth a word.
    Normal,
    /// Look at it.
    Warning,
    /// Act.
    Critical,
}

impl Level {
    /// Its name in the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The level of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Normal, Self::Warning, Self::Critical]
            .into_iter()
            .find(|level| level.name() == name)
    }

    /// The level after this one for a value of `pct` hundredths of the limit. A value that is not
    /// known changes nothing.
    pub fn next(self, pct: Option<f64>, thresholds: &Thresholds) -> Self {
        let Some(pct) = pct else { return self };
        let reached = |level: Self| match level {
            Self::Normal => f64::NEG_INFINITY,
            Self::Warning => thresholds.warning_pct,
            Self::Critical => thresholds.critical_pct,
        };
        let holds = |level: &Self| match *level <= self {
            true => pct > reached(*level) - HYSTERESIS_PCT,
            false => pct >= reached(*level),
        };
        let found = [Self::Critical, Self::Warning].into_iter().find(holds);
        found.unwrap_or(Self::Normal)
    }
}

/// When `used_wh` grows to `limit_wh` at a power of `power_w`, microseconds since 1970: at once
/// where it has, and `None` where it never does or only after `end_us`.
pub fn exhausted_at(
    at_us: i64,
    end_us: i64,
    used_wh: f64,
    limit_wh: f64,
    power_w: Option<f64>,
) -> Option<i64> {
    if used_wh > 0.0 && used_wh >= limit_wh {
        return Some(at_us);
    }
    let power_w = power_w.filter(|watts| *watts > 0.0)?;
    let left_us = (limit_wh - used_wh) / power_w * 3.6e9;
    // Periods end within a year, so that what is compared is far from the end of the type.
    (left_us < (end_us - at_us) as f64).then(|| at_us + left_us as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_begin_at_the_threshold_and_end_two_points_below() {
        let at = |level: Level, pct: f64| level.next(Some(pct), &Thresholds::default());
        assert_eq!(at(Level::Normal, 79.999), Level::Normal);
        assert_eq!(at(Level::Normal, 80.0), Level::Warning);
        assert_eq!(at(Level::Normal, 95.0), Level::Critical);
        assert_eq!(at(Level::Warning, 94.999), Level::Warning);
        assert_eq!(at(Level::Warning, 78.001), Level::Warning);
        assert_eq!(at(Level::Warning, 78.0), Level::Normal);
        assert_eq!(at(Level::Critical, 93.001), Level::Critical);
        assert_eq!(at(Level::Critical, 93.0), Level::Warning);
        assert_eq!(at(Level::Critical, 10.0), Level::Normal);
        assert_eq!(
            Level::Critical.next(None, &Thresholds::default()),
            Level::Critical
        );
    }

    #[test]
    fn a_limit_is_reached_when_the_rest_is_used_up() {
        let hour = 3_600_000_000;
        assert_eq!(
            exhausted_at(0, 9 * hour, 500.0, 1_000.0, Some(250.0)),
            Some(2 * hour)
        );
        assert_eq!(exhausted_at(0, 2 * hour, 500.0, 1_000.0, Some(250.0)), None);
        assert_eq!(exhausted_at(7, hour, 1_000.0, 1_000.0, None), Some(7));
        assert_eq!(exhausted_at(7, hour, 1.0, 0.0, None), Some(7));
        assert_eq!(exhausted_at(7, hour, 0.0, 0.0, None), None);
        assert_eq!(exhausted_at(0, hour, 1.0, 1_000.0, Some(0.0)), None);
        assert_eq!(exhausted_at(0, hour, 1.0, 1_000.0, Some(-5.0)), None);
        assert_eq!(exhausted_at(0, hour, 1.0, 1_000.0, None), None);
    }

    proptest! {
        #[test]
        fn a_level_is_never_lower_than_what_the_value_alone_says(
            before in 0usize..3, pct in 0.0..120.0_f64,
        ) {
            let before = [Level::Normal, Level::Warning, Level::Critical][before];
            let thresholds = Thresholds::default();
            let next = before.next(Some(pct), &thresholds);
            prop_assert!(next >= Level::Normal.next(Some(pct), &thresholds));
            prop_assert_eq!(next.next(Some(pct), &thresholds), next, "steady at a steady value");
        }
    }
}
