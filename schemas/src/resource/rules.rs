//! `rules`: what is forbidden, how it is measured, and from when on it is a violation.

use serde_json::Value;

use crate::column::{Kind, Unit};
use crate::resource::{
    Field, FieldFault, Format, Resource, Rule, Values, allocations, find, inspections,
};
use crate::stream::anomalies::DETECTORS;
use crate::violation::{ORDER_ACTIONS, SEVERITIES, SUBJECT_KINDS, TYPES};

/// What a rule can watch.
pub const METRICS: &[&str] = &[
    "energy_pct",
    "power_pct",
    "demand_w",
    "completeness_pct",
    "power_w",
    "energy_wh",
    "efficiency_jth",
    "sensor",
    "anomaly",
    "days_left",
    "unregistered",
    "unaccredited",
    "capacity_pct",
    "counter_drift_pct",
    "curtailment_pct",
];
/// The kinds of subjects that have each of them.
pub const METRIC_SUBJECTS: &[(&str, &[&str])] = &[
    ("energy_pct", &["pool", "site", "operator"]),
    ("power_pct", &["pool", "site", "operator"]),
    ("demand_w", &["pool", "site", "operator"]),
    ("completeness_pct", &["pool", "site", "operator"]),
    ("power_w", &["machine", "pool", "site"]),
    ("energy_wh", &["machine", "pool", "site"]),
    ("efficiency_jth", &["pool"]),
    ("sensor", &["site"]),
    ("anomaly", &["site", "pool"]),
    (
        "days_left",
        &["operator", "pool", "site", "machine", "meter"],
    ),
    ("unregistered", &["meter", "machine"]),
    ("unaccredited", &["pool"]),
    ("capacity_pct", &["machine", "pool"]),
    ("counter_drift_pct", &["meter"]),
    ("curtailment_pct", &["site"]),
];
/// When a value is beyond the threshold.
pub const COMPARISONS: &[&str] = &["at_least", "above", "at_most", "below"];
/// Whether a rule is applied.
pub const STATUSES: &[&str] = &["active", "paused"];
/// Of resources, the times that `days_left` counts to.
pub const DATES: &[&str] = &[
    "licence_valid_to",
    "calibration_due_at",
    "next_due_at",
    "valid_to",
];

const THIRTY_ONE_DAYS_S: f64 = 2_678_400.0;

/// The kind.
pub const RULES: Resource = Resource {
    name: "rules",
    singular: "rule",
    path: "/api/v1/rules",
    item_path: "/api/v1/rules/{id}",
    doc: "What is forbidden, how it is measured, and from when on it is a violation.",
    fields: &[
        Field::one_of(11, "type", TYPES, "The type of its violations.").required(),
        Field::one_of(12, "subject_kind", SUBJECT_KINDS, "What it is about.").required(),
        Field::text(
            13,
            "subject",
            "The one that it is about; every one without it.",
        ),
        Field::one_of(14, "metric", METRICS, "What it watches.").required(),
        Field::text(
            15,
            "quantity",
            "Of sensor the quantity, such as temperature_c; of anomaly the detector, such as \
             missing; of days_left the field, such as licence_valid_to.",
        ),
        Field::one_of(
            16,
            "comparison",
            COMPARISONS,
            "How values compare with threshold.",
        )
        .required(),
        Field::number(
            17,
            "threshold",
            Unit::ByQuantity,
            -1e15,
            1e15,
            "The limit, in the unit of the metric.",
        )
        .required(),
        Field::number(
            18,
            "hysteresis",
            Unit::ByQuantity,
            0.0,
            1e15,
            "How far back a value must go before it counts as within the limit again.",
        ),
        Field::number(
            19,
            "for_s",
            Unit::Seconds,
            0.0,
            THIRTY_ONE_DAYS_S,
            "How long it must last before the violation is opened; 0 without it.",
        ),
        Field::number(
            20,
            "missing_after_s",
            Unit::Seconds,
            60.0,
            THIRTY_ONE_DAYS_S,
            "Silence after which data count as missing; 3600 without it.",
        ),
        Field::text(
            21,
            "hours",
            "The hours of a day that it holds in, such as 17:00-21:30.",
        )
        .format(Format::Hours),
        Field::text(22, "time_zone", "By which clock; UTC without it.").format(Format::TimeZone),
        Field::one_of(
            23,
            "severity",
            SEVERITIES,
            "How bad a violation is; without it the matrix says.",
        ),
        Field::one_of(24, "order", ORDER_ACTIONS, "What a violation leads to."),
        Field::number(
            25,
            "cap_kw",
            Unit::Kilowatts,
            0.0,
            1e7,
            "The most power of a cap.",
        ),
        Field::time(
            26,
            "valid_from",
            "From when on samples count; from when it was registered or changed without it.",
        ),
        Field::time(
            27,
            "valid_to",
            "Until when samples count; without end without it.",
        ),
        Field::text(
            28,
            "basis",
            "The law, licence or contract that it follows from.",
        ),
        Field::one_of(
            29,
            "status",
            STATUSES,
            "Whether it is applied; active without it.",
        ),
    ],
    rules: &[
        Rule::Before("valid_from", "valid_to"),
        Rule::NeededWhere("order", "cap", "cap_kw"),
        Rule::NeededWhere("metric", "sensor", "quantity"),
        Rule::NeededWhere("metric", "days_left", "quantity"),
        Rule::Holds(metric_of_subject),
        Rule::Holds(quantity_of_metric),
    ],
};

/// Things of a kind that do not have the metric would be watched for nothing.
fn metric_of_subject(values: &Values) -> Option<FieldFault> {
    let text = |name: &str| values.get(name).and_then(Value::as_str);
    let (metric, kind) = (text("metric")?, text("subject_kind")?);
    let (_, kinds) = METRIC_SUBJECTS.iter().find(|(name, _)| *name == metric)?;
    let reason = || format!("no {kind} has {metric}; it is of {}", kinds.join(", "));
    (!kinds.contains(&kind)).then(|| FieldFault::new("metric", reason()))
}

/// A detector or a time that is not there would be watched for nothing, too.
fn quantity_of_metric(values: &Values) -> Option<FieldFault> {
    let text = |name: &str| values.get(name).and_then(Value::as_str);
    let (metric, quantity) = (text("metric")?, text("quantity")?);
    let known: Vec<&str> = match metric {
        "anomaly" => DETECTORS.to_vec(),
        "days_left" => times_of(text("subject_kind")?),
        _ => return None,
    };
    let reason = || match known.is_empty() {
        true => format!("{metric} has nothing to count to"),
        false => format!("{quantity:?} is not one of {}", known.join(", ")),
    };
    (!known.contains(&quantity)).then(|| FieldFault::new("quantity", reason()))
}

/// The times that a subject of a kind has itself, or in its allocations and inspections.
fn times_of(subject_kind: &str) -> Vec<&'static str> {
    let own = find(&format!("{subject_kind}s"));
    let papers = [&allocations::ALLOCATIONS, &inspections::INSPECTIONS];
    let papers = papers
        .into_iter()
        .filter(|one| one.field(subject_kind).is_some());
    let mut times = Vec::new();
    for resource in own.into_iter().chain(papers) {
        let fields = resource.fields.iter();
        let of_time = fields.filter(|field| field.column.kind == Kind::Timestamp);
        times.extend(of_time.map(Field::name));
    }
    times
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    /// What is said of a rule with these fields; nothing where it is taken.
    fn said(metric: &str, subject_kind: &str, quantity: Option<&str>) -> Option<String> {
        let rule = json!({"type": "OTHER", "subject_kind": subject_kind, "metric": metric,
            "quantity": quantity, "comparison": "above", "threshold": 1.0});
        let faults = RULES.check(rule.as_object().unwrap()).err()?;
        Some(faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_rule_about_what_its_subject_does_not_have_is_refused_with_the_field() {
        let refused = said("efficiency_jth", "machine", None).unwrap();
        assert_eq!(
            refused,
            "field `metric`: no machine has efficiency_jth; it is of pool"
        );
        let mut taken = 0;
        for metric in METRICS {
            for kind in SUBJECT_KINDS {
                let (_, kinds) = METRIC_SUBJECTS
                    .iter()
                    .find(|(name, _)| name == metric)
                    .unwrap();
                let quantity = match *metric {
                    "sensor" => Some("temperature_c"),
                    "days_left" => times_of(kind).first().copied(),
                    _ => None,
                };
                let refused = said(metric, kind, quantity);
                assert_eq!(
                    refused.is_none(),
                    kinds.contains(kind),
                    "{metric} {kind}: {refused:?}"
                );
                taken += usize::from(refused.is_none());
            }
        }
        assert_eq!(taken, 34);
    }

    #[test]
    fn a_detector_or_a_time_that_is_not_there_is_refused_with_the_field() {
        for (metric, kind, quantity, expected) in [
            ("anomaly", "site", "missing", None),
            (
                "anomaly",
                "site",
                "absent",
                Some("\"absent\" is not one of clock, missing"),
            ),
            ("days_left", "operator", "licence_valid_to", None),
            ("days_left", "pool", "next_due_at", None),
            (
                "days_left",
                "pool",
                "licence_valid_to",
                Some("is not one of valid_from, valid_to"),
            ),
            ("days_left", "meter", "valid_to", Some("calibration_due_at")),
        ] {
            let refused = said(metric, kind, Some(quantity));
            let fits = match (&refused, expected) {
                (None, None) => true,
                (Some(refused), Some(part)) => {
                    refused.starts_with("field `quantity`: ") && refused.contains(part)
                }
                _ => false,
            };
            assert!(fits, "{metric} {kind} {quantity}: {refused:?}");
        }
    }
}
