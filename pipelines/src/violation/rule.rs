//! A rule: what the registry says of it, and the rules that hold where the registry has none of
//! their id.

use headframe_schemas::hours::Hours;
use headframe_schemas::period::Zone;
use headframe_schemas::resource::Values;
use headframe_schemas::resource::values::parse_time;
use headframe_schemas::violation::{SAFETY_TYPES, Severity, TYPES};
use serde_json::{Value, json};

use crate::violation::evaluation::{Comparison, Condition, Sample};
use crate::violation::metric::{self, Metric};
use crate::violation::order::OrderPolicy;

const SECOND_US: f64 = 1e6;
/// Silence after which data are missing, where a rule does not say.
const MISSING_AFTER_S: f64 = 3_600.0;

/// A rule that is applied.
#[derive(Clone)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// The type of its violations.
    pub kind: &'static str,
    /// What it watches.
    pub metric: &'static dyn Metric,
    /// Of what kind of thing.
    pub subject_kind: String,
    /// Of this one alone.
    pub subject: Option<String>,
    /// Which quantity, detector or field.
    pub quantity: Option<String>,
    /// When it is violated.
    pub condition: Condition,
    /// In which hours it holds, and by which clock.
    pub hours: Option<(Hours, Zone)>,
    /// How bad its violations are; the matrix says where it does not.
    pub severity: Option<Severity>,
    /// What a violation leads to.
    pub order: Option<OrderPolicy>,
    /// From when on it holds, microseconds since 1970.
    pub since_us: i64,
    /// Until when it holds.
    pub until_us: i64,
}

impl Rule {
    /// The rule with these fields, which became so at a time, microseconds since 1970, and holds
    /// from then on unless it says. `None` where it is paused, or where this version of the program
    /// does not know what it watches.
    pub fn parse(id: &str, values: &Values, at_us: i64) -> Option<Self> {
        let text = |name: &str| values.get(name).and_then(Value::as_str);
        let number = |name: &str| values.get(name).and_then(Value::as_f64);
        let time = |name: &str| Some(parse_time(text(name)?)?.timestamp_micros());
        if text("status") == Some("paused") {
            return None;
        }
        let kind = text("type")?;
        let metric = metric::find(text("metric")?)?;
        let zone = text("time_zone").and_then(|zone| zone.parse().ok());
        let hours = text("hours").and_then(Hours::parse);
        let missing_after_s = number("missing_after_s").unwrap_or(MISSING_AFTER_S);
        Some(Self {
            id: id.to_owned(),
            kind: TYPES.iter().find(|known| **known == kind)?,
            metric,
            subject_kind: text("subject_kind")?.to_owned(),
            subject: text("subject").map(str::to_owned),
            quantity: text("quantity").map(str::to_owned),
            condition: Condition {
                comparison: Comparison::parse(text("comparison")?)?,
                threshold: number("threshold")?,
                hysteresis: number("hysteresis").unwrap_or(0.0),
                for_us: (number("for_s").unwrap_or(0.0) * SECOND_US) as i64,
                missing_after_us: (!metric.holds_value())
                    .then_some((missing_after_s * SECOND_US) as i64),
            },
            hours: hours.map(|hours| (hours, zone.unwrap_or(Zone::UTC))),
            severity: text("severity").and_then(Severity::parse),
            order: text("order").map(|action| OrderPolicy {
                action: action.to_owned(),
                cap_kw: number("cap_kw"),
            }),
            since_us: time("valid_from").unwrap_or(at_us),
            until_us: time("valid_to").unwrap_or(i64::MAX),
        })
    }

    /// Whether it holds at a time, microseconds since 1970.
    pub fn holds_at(&self, at_us: i64) -> bool {
        (self.since_us..self.until_us).contains(&at_us)
    }

    /// When it began to hold, microseconds since 1970.
    pub fn since_us(&self) -> i64 {
        self.since_us
    }

    /// Whether things of its kind have what it watches.
    pub fn has_subjects(&self) -> bool {
        let kinds = self.metric.subject_kinds();
        kinds.contains(&self.subject_kind.as_str())
    }

    /// Whether it is about this thing.
    pub fn is_about(&self, subject_kind: &str, subject: &str) -> bool {
        let is_subject = |wanted: &String| wanted == subject;
        self.subject_kind == subject_kind && self.subject.as_ref().is_none_or(is_subject)
    }

    /// A sample as the rule sees it: exempt outside of its hours.
    pub fn sample(&self, sample: Sample) -> Sample {
        let is_exempt = self
            .hours
            .is_some_and(|(hours, zone)| !hours.contains(sample.at_us, zone));
        Sample {
            is_exempt: sample.is_exempt || is_exempt,
            ..sample
        }
    }

    /// Whether people may be hurt.
    pub fn is_about_safety(&self) -> bool {
        SAFETY_TYPES.contains(&self.kind)
    }
}

/// The rules that hold where the registry has none of their id: limits of allocations, gaps of
/// meters, licences, meters of registered sites that nobody registered, and curtailments.
pub fn defaults() -> Vec<(String, Values)> {
    let mut found = Vec::new();
    for kind in ["pool", "site", "operator"] {
        let limit = |metric: &str, (name, level): (&str, &str), more: Value| {
            let mut rule = json!({"type": level, "subject_kind": kind, "metric": metric,
                "hysteresis": 2.0, "basis": "default"});
            merge(&mut rule, more);
            (format!("{kind}-{name}"), rule)
        };
        let warning = json!({"comparison": "at_least", "threshold": 80.0, "severity": "low"});
        let critical = json!({"comparison": "at_least", "threshold": 95.0, "severity": "high"});
        let exceeded = json!({"comparison": "above", "threshold": 100.0, "severity": "critical"});
        let peak = json!({"comparison": "above", "threshold": 100.0, "for_s": 900.0});
        let gap = json!({"comparison": "below", "threshold": 50.0, "for_s": 3_600.0});
        found.extend([
            limit("energy_pct", ("energy-80", "ENERGY_LIMIT_WARNING"), warning),
            limit(
                "energy_pct",
                ("energy-95", "ENERGY_LIMIT_CRITICAL"),
                critical,
            ),
            limit(
                "energy_pct",
                ("energy-100", "ENERGY_LIMIT_EXCEEDED"),
                exceeded,
            ),
            limit("power_pct", ("peak-demand", "PEAK_DEMAND_EXCEEDED"), peak),
            limit("completeness_pct", ("data-gap", "METER_TAMPER_OR_GAP"), gap),
        ]);
    }
    found.push((
        "licence-expired".to_owned(),
        json!({"type": "LICENSE_EXPIRED", "subject_kind": "operator", "metric": "days_left",
            "quantity": "licence_valid_to", "comparison": "at_most", "threshold": 0.0,
            "severity": "high", "basis": "default"}),
    ));
    found.push((
        "unregistered-meter".to_owned(),
        json!({"type": "UNREGISTERED_MACHINE", "subject_kind": "meter", "metric": "unregistered",
            "comparison": "at_least", "threshold": 1.0, "for_s": 3_600.0, "severity": "medium",
            "basis": "default"}),
    ));
    found.push((
        "site-curtailment".to_owned(),
        json!({"type": "CURTAILMENT_NONCOMPLIANCE", "subject_kind": "site",
            "metric": "curtailment_pct", "comparison": "below", "threshold": 95.0,
            "severity": "high", "basis": "default"}),
    ));
    let values = |(id, rule)| match rule {
        Value::Object(values) => Some((id, values)),
        _ => None,
    };
    found.into_iter().filter_map(values).collect()
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headframe_schemas::resource::rules::RULES;

    use super::*;

    #[test]
    fn every_default_rule_is_one_that_the_registry_takes() {
        let rules = defaults();
        assert_eq!(rules.len(), 18);
        for (id, values) in rules {
            let checked = RULES.check(&values);
            assert_eq!(checked.as_ref(), Ok(&values), "{id}");
            assert!(Rule::parse(&id, &values, 0).is_some(), "{id}");
        }
    }

    #[test]
    fn a_paused_rule_is_not_applied_and_hours_exempt_what_is_outside() {
        let (id, mut values) = defaults().remove(0);
        values.insert("hours".to_owned(), json!("12:00-13:00"));
        let rule = Rule::parse(&id, &values, 0).unwrap();
        let at = |at_us| Sample {
            at_us,
            value: Some(1.0),
            window_us: None,
            seq: 1,
            is_exempt: false,
        };
        assert!(rule.sample(at(0)).is_exempt);
        assert!(!rule.sample(at(12 * 3_600_000_000)).is_exempt);
        values.insert("status".to_owned(), json!("paused"));
        assert!(Rule::parse(&id, &values, 0).is_none());
    }
}
