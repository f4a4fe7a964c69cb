//! How bad a violation is: the matrix of magnitude, duration, recurrence and safety.

use headframe_schemas::violation::Severity;

const HOUR_US: i64 = 3_600_000_000;

/// What the severity follows from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circumstances {
    /// The worst value.
    pub peak: f64,
    /// The limit.
    pub threshold: f64,
    /// How long it has lasted, microseconds.
    pub lasted_us: i64,
    /// Violations of the same rule by the same subject in the 90 days before.
    pub earlier: usize,
    /// Whether people may be hurt.
    pub is_safety: bool,
}

/// The severity: points are added up, 0 and 1 are low, 2 and 3 medium, 4 and 5 high, more critical.
///
/// Magnitude: 1 from 5 % beyond the limit on, 2 from 20 % on. Duration: 1 from an hour on, 2 from a
/// day on. Recurrence: 1 for one or two earlier ones, 2 for more. Safety: 2.
pub fn severity(of: &Circumstances) -> Severity {
    let beyond = (of.peak - of.threshold).abs() / of.threshold.abs().max(1e-6);
    let steps = |value: f64, first: f64, second: f64| {
        usize::from(value >= first) + usize::from(value >= second)
    };
    let magnitude = steps(beyond, 0.05, 0.2);
    let duration = steps(of.lasted_us as f64, HOUR_US as f64, 24.0 * HOUR_US as f64);
    let recurrence = steps(of.earlier as f64, 1.0, 3.0);
    let safety = if of.is_safety { 2 } else { 0 };
    match magnitude + duration + recurrence + safety {
        0 | 1 => Severity::Low,
        2 | 3 => Severity::Medium,
        4 | 5 => Severity::High,
        _ => Severity::Critical,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_matrix_adds_up_what_makes_it_worse() {
        let mild = Circumstances {
            peak: 104.0,
            threshold: 100.0,
            lasted_us: HOUR_US - 1,
            earlier: 0,
            is_safety: false,
        };
        assert_eq!(severity(&mild), Severity::Low);
        let longer = Circumstances {
            lasted_us: 24 * HOUR_US,
            ..mild
        };
        assert_eq!(severity(&longer), Severity::Medium);
        let again = Circumstances {
            earlier: 3,
            ..longer
        };
        assert_eq!(severity(&again), Severity::High);
        let dangerous = Circumstances {
            is_safety: true,
            ..again
        };
        assert_eq!(severity(&dangerous), Severity::Critical);
    }

    proptest! {
        #[test]
        fn nothing_that_is_worse_makes_it_milder(
            peak in 80.0..200.0_f64, lasted in 0..100 * HOUR_US, earlier in 0..6_usize,
            safety in any::<bool>(), more in 0.0..50.0_f64,
        ) {
            let one = Circumstances {
                peak, threshold: 80.0, lasted_us: lasted, earlier, is_safety: safety,
            };
            for worse in [
                Circumstances { peak: peak + more, ..one },
                Circumstances { lasted_us: lasted + HOUR_US, ..one },
                Circumstances { earlier: earlier + 1, ..one },
                Circumstances { is_safety: true, ..one },
            ] {
                prop_assert!(severity(&worse) >= severity(&one));
            }
        }
    }
}
