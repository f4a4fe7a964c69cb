//! The policy: every number that the controller decides by, with its default and its unit.
//!
//! An operator may change each; what makes no sense together is refused with the name of the key.
//! Keys end in their unit: `_s` seconds, `_kw` kilowatts, `_c` degrees Celsius, `_pct` per cent.

pub mod cooling;
pub mod dispatch;
pub mod power;
mod ranges;
pub mod safety;
pub mod signals;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

pub use cooling::FanPolicy;
pub use dispatch::{DispatchPolicy, RestorePolicy};
pub use power::PowerPolicy;
pub use safety::{AuthorityPolicy, HealthPolicy, ThermalPolicy, TripPolicy};
pub use signals::{OnLoss, SignalPolicy, SignalRule};

/// Everything that an operator may set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Region R1: delays, deadlines and dead-bands of the site's power.
    pub power: PowerPolicy,
    /// What each signal means and what its loss means.
    pub signals: SignalPolicy,
    /// How often each input is read, and when it is late.
    pub health: HealthPolicy,
    /// Region R2, and what a bad temperature sensor is.
    pub thermal: ThermalPolicy,
    /// Hard trips.
    pub trips: TripPolicy,
    /// Fans.
    pub fans: FanPolicy,
    /// How machines are stopped.
    pub dispatch: DispatchPolicy,
    /// How machines are started again.
    pub restore: RestorePolicy,
    /// Overrides, bypasses, debug.
    pub authority: AuthorityPolicy,
}

/// A number of the policy, or of the plan, that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct BadValue {
    /// The key, as in the configuration.
    pub key: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl BadValue {
    /// A key and what is wrong with it.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

impl Policy {
    /// Every complaint about the numbers; none when they fit together.
    pub fn problems(&self) -> Vec<BadValue> {
        let mut bad = Vec::new();
        let mut less = |low: (&str, f64), high: (&str, f64)| {
            let fits = low.1.is_finite() && high.1.is_finite() && low.1 < high.1;
            if !fits {
                let problem = format!("{} must be less than {} {}", low.1, high.0, high.1);
                bad.push(BadValue::new(low.0, problem));
            }
        };
        let (thermal, trips, fans) = (&self.thermal, &self.trips, &self.fans);
        less(
            ("thermal.cold_c", thermal.cold_c),
            ("thermal.warm_c", thermal.warm_c),
        );
        less(
            ("thermal.warm_c", thermal.warm_c),
            ("thermal.hot_c", thermal.hot_c),
        );
        less(
            ("thermal.hot_c", thermal.hot_c),
            ("thermal.critical_c", thermal.critical_c),
        );
        less(
            ("trips.trip_c", trips.trip_c),
            ("trips.trip_at_once_c", trips.trip_at_once_c),
        );
        less(
            ("thermal.hot_c", thermal.hot_c),
            ("trips.trip_c", trips.trip_c),
        );
        less(
            ("restore.below_c", self.restore.below_c),
            ("thermal.hot_c", thermal.hot_c),
        );
        less(
            ("thermal.cold_c", thermal.cold_c),
            ("fans.base_c", fans.base_c),
        );
        less(("zero", 0.0), ("fans.step_c", fans.step_c));
        less(("zero", 0.0), ("fans.hysteresis_c", fans.hysteresis_c));
        less(
            ("trips.feeder_over_pct", trips.feeder_over_pct),
            ("trips.feeder_far_over_pct", trips.feeder_far_over_pct),
        );
        bad.extend(self.bad_shares());
        if self.dispatch.concurrency == 0 {
            bad.push(BadValue::new(
                "dispatch.concurrency",
                "0 would stop nothing; say 1 or more",
            ));
        }
        if self.authority.override_default_s > self.authority.override_max_s {
            bad.push(BadValue::new(
                "authority.override_default_s",
                "it is more than authority.override_max_s",
            ));
        }
        bad.extend(self.signals.problems());
        bad.extend(ranges::problems(self));
        bad
    }

    fn bad_shares(&self) -> Vec<BadValue> {
        let mut bad = Vec::new();
        for (key, share) in [
            ("power.escalate_share", self.power.escalate_share),
            ("power.allocation_share", self.power.allocation_share),
            ("thermal.half_share", self.thermal.half_share),
            ("trips.lost_half_share", self.trips.lost_half_share),
            ("fans.fault_cap_share", self.fans.fault_cap_share),
            ("fans.fault_watts_share", self.fans.fault_watts_share),
            ("dispatch.off_share", self.dispatch.off_share),
            (
                "restore.ramp_pct_per_min",
                self.restore.ramp_pct_per_min / 100.0,
            ),
            ("restore.group_pct", self.restore.group_pct / 100.0),
            ("restore.planned_share", self.restore.planned_share),
        ] {
            if !(share > 0.0 && share <= 1.0) {
                bad.push(BadValue::new(
                    key,
                    format!("{share} is not in the range of a share"),
                ));
            }
        }
        bad
    }

    /// A name for exactly these numbers: the beginning of the SHA-256 of their canonical JSON.
    pub fn version(&self) -> String {
        fingerprint(self)
    }
}

/// The beginning of the SHA-256 of a value's JSON; fields of structs have a fixed order.
pub fn fingerprint<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    hex::encode(&digest(&SHA256, &json).as_ref()[..8])
}

/// Seconds of the policy as milliseconds of the clock.
pub const fn ms(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_defaults_fit_together_and_have_a_stable_version() {
        assert_eq!(Policy::default().problems(), Vec::new());
        let (one, mut two) = (Policy::default(), Policy::default());
        assert_eq!(one.version(), two.version());
        two.power.min_off_s += 1;
        assert_ne!(one.version(), two.version());
        let read: Policy = serde_json::from_str(&serde_json::to_string(&two).unwrap()).unwrap();
        assert_eq!(read.version(), two.version());
    }

    #[test]
    fn unknown_keys_and_numbers_that_make_no_sense_are_refused_by_name() {
        let error = serde_json::from_str::<Policy>(r#"{"power": {"min_of_s": 3}}"#).unwrap_err();
        assert!(error.to_string().contains("min_of_s"), "{error}");
        let mut policy = Policy::default();
        policy.thermal.hot_c = 41.0;
        policy.restore.group_pct = 0.0;
        let keys: Vec<String> = policy.problems().into_iter().map(|bad| bad.key).collect();
        assert_eq!(
            keys,
            ["thermal.hot_c", "thermal.hot_c", "restore.group_pct"]
        );
    }
}
