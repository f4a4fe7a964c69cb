//! The ranges of the numbers that safety hangs on. What lies outside is a slip: degrees Fahrenheit,
//! milliseconds for seconds, a missing point.

use serde_json::Value;

use super::{BadValue, Policy};

/// No time of a policy is longer: a year. Sums of times cannot overflow then.
const LONGEST_S: u64 = 366 * 86_400;

/// Every number that is out of its range, or none at all.
pub(super) fn problems(policy: &Policy) -> Vec<BadValue> {
    let mut bad = Vec::new();
    if let Ok(Value::Object(sections)) = serde_json::to_value(policy) {
        for (name, section) in &sections {
            check_finite(name, section, &mut bad);
        }
    }
    for (key, value, low, high) in degrees(policy) {
        if value > high && (low..=high).contains(&celsius(value)) {
            let problem = format!(
                "{value} is not {low} to {high} degrees Celsius; {value} °F are {:.0} °C",
                celsius(value)
            );
            bad.push(BadValue::new(key, problem));
        } else if !(low..=high).contains(&value) {
            let problem =
                format!("{value} is not {low} to {high} degrees Celsius; say one of them");
            bad.push(BadValue::new(key, problem));
        }
    }
    for (key, value, low, high) in shares_and_rates(policy) {
        if !(low..=high).contains(&value) {
            bad.push(BadValue::new(
                key,
                format!("{value} is not {low} to {high}; say one of them"),
            ));
        }
    }
    for (key, value, low, high) in whole_number_ranges(policy) {
        if !(low..=high).contains(&value) {
            bad.push(BadValue::new(
                key,
                format!("{value} is not {low} to {high}; say one of them"),
            ));
        }
    }
    bad
}

fn celsius(fahrenheit: f64) -> f64 {
    (fahrenheit - 32.0) / 1.8
}

/// JSON has no NaN and no infinity: a float that is none of its numbers is null there.
fn check_finite(path: &str, value: &Value, bad: &mut Vec<BadValue>) {
    let Value::Object(fields) = value else {
        return;
    };
    for (name, value) in fields {
        let key = format!("{path}.{name}");
        match value {
            Value::Object(_) => check_finite(&key, value, bad),
            Value::Null if name != "allocation_limit_kw" && name != "on_loss" => {
                bad.push(BadValue::new(key, "it is not a number; say one"));
            }
            value if name.ends_with("_s") && value.as_u64().is_some_and(|s| s > LONGEST_S) => {
                let problem = format!("{value} s is more than a year; it is in seconds");
                bad.push(BadValue::new(key, problem));
            }
            _ => {}
        }
    }
}

type Ranges<T> = Vec<(&'static str, T, T, T)>;

fn degrees(policy: &Policy) -> Ranges<f64> {
    let (trips, thermal) = (&policy.trips, &policy.thermal);
    vec![
        ("trips.trip_c", trips.trip_c, 25.0, 60.0),
        ("trips.trip_at_once_c", trips.trip_at_once_c, 25.0, 70.0),
        ("trips.rise_above_c", trips.rise_above_c, 0.0, 60.0),
        ("trips.condensation_c", trips.condensation_c, 0.0, 20.0),
        ("thermal.hot_c", thermal.hot_c, 15.0, 60.0),
        ("thermal.critical_c", thermal.critical_c, 20.0, 65.0),
    ]
}

fn shares_and_rates(policy: &Policy) -> Ranges<f64> {
    let trips = &policy.trips;
    vec![
        ("trips.rise_c_per_min", trips.rise_c_per_min, 0.5, 30.0),
        ("trips.humidity_pct", trips.humidity_pct, 50.0, 100.0),
        ("trips.feeder_over_pct", trips.feeder_over_pct, 10.0, 125.0),
        (
            "trips.feeder_far_over_pct",
            trips.feeder_far_over_pct,
            10.0,
            200.0,
        ),
    ]
}

fn whole_number_ranges(policy: &Policy) -> Ranges<u64> {
    let (trips, health) = (&policy.trips, &policy.health);
    vec![
        ("trips.trip_after_s", trips.trip_after_s, 0, 600),
        ("trips.feeder_over_s", trips.feeder_over_s, 0, 600),
        ("trips.feeder_far_over_s", trips.feeder_far_over_s, 0, 120),
        ("trips.clear_s", trips.clear_s, 1, 7 * 86_400),
        (
            "trips.two_person_within_s",
            trips.two_person_within_s,
            1,
            86_400,
        ),
        ("trips.contactor_after_s", trips.contactor_after_s, 0, 600),
        (
            "authority.override_max_s",
            policy.authority.override_max_s,
            1,
            86_400,
        ),
        (
            "health.temperature_period_s",
            health.temperature_period_s,
            1,
            3_600,
        ),
        ("health.meter_period_s", health.meter_period_s, 1, 3_600),
        ("health.machine_period_s", health.machine_period_s, 1, 3_600),
        ("health.fan_period_s", health.fan_period_s, 1, 3_600),
        (
            "health.interlock_period_s",
            health.interlock_period_s,
            1,
            3_600,
        ),
        ("health.meter_misses", health.meter_misses, 1, 1_000),
        ("health.interlock_misses", health.interlock_misses, 1, 1_000),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(change: impl FnOnce(&mut Policy)) -> Vec<String> {
        let mut policy = Policy::default();
        change(&mut policy);
        problems(&policy).into_iter().map(|bad| bad.key).collect()
    }

    #[test]
    fn numbers_of_safety_that_are_slips_are_refused_by_name() {
        assert!(problems(&Policy::default()).is_empty());
        type Change = fn(&mut Policy);
        let slips: [(&str, Change); 10] = [
            ("trips.trip_c", |one| one.trips.trip_c = 104.0),
            ("trips.trip_at_once_c", |one| {
                one.trips.trip_at_once_c = 500.0
            }),
            ("trips.trip_after_s", |one| one.trips.trip_after_s = 700),
            ("trips.rise_c_per_min", |one| one.trips.rise_c_per_min = 0.0),
            ("trips.humidity_pct", |one| one.trips.humidity_pct = 0.0),
            ("trips.clear_s", |one| one.trips.clear_s = 0),
            ("health.meter_period_s", |one| one.health.meter_period_s = 0),
            ("power.restart_delay_s", |one| {
                one.power.restart_delay_s = u64::MAX / 2;
            }),
            ("power.drift_kw", |one| one.power.drift_kw = f64::INFINITY),
            ("authority.override_max_s", |one| {
                one.authority.override_max_s = 90_000;
            }),
        ];
        for (key, change) in slips {
            assert_eq!(keys(change), [key]);
        }
        let nan = keys(|one| one.trips.rise_c_per_min = f64::NAN);
        assert!(nan.iter().all(|key| key == "trips.rise_c_per_min") && !nan.is_empty());
        let far = keys(|one| one.trips.trip_after_s = 1_000_000_000_000_000);
        assert!(far.contains(&"trips.trip_after_s".to_owned()));
        let mut policy = Policy::default();
        policy.trips.trip_c = 104.0;
        assert!(problems(&policy)[0].problem.contains("104 °F are 40 °C"));
    }
}
