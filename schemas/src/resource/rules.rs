//! `rules`: what is forbidden, how it is measured, and from when on it is a violation.

use crate::column::Unit;
use crate::resource::{Field, Format, Resource, Rule};
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
        Field::one_of("type", TYPES, "The type of its violations.").required(),
        Field::one_of("subject_kind", SUBJECT_KINDS, "What it is about.").required(),
        Field::text("subject", "The one that it is about; every one without it."),
        Field::one_of("metric", METRICS, "What it watches.").required(),
        Field::text(
            "quantity",
            "Of sensor the quantity, such as temperature_c; of anomaly the detector, such as \
             missing; of days_left the field, such as licence_valid_to.",
        ),
        Field::one_of(
            "comparison",
            COMPARISONS,
            "How values compare with threshold.",
        )
        .required(),
        Field::number(
            "threshold",
            Unit::ByQuantity,
            -1e15,
            1e15,
            "The limit, in the unit of the metric.",
        )
        .required(),
        Field::number(
            "hysteresis",
            Unit::ByQuantity,
            0.0,
            1e15,
            "How far back a value must go before it counts as within the limit again.",
        ),
        Field::number(
            "for_s",
            Unit::Seconds,
            0.0,
            THIRTY_ONE_DAYS_S,
            "How long it must last before the violation is opened; 0 without it.",
        ),
        Field::number(
            "missing_after_s",
            Unit::Seconds,
            60.0,
            THIRTY_ONE_DAYS_S,
            "Silence after which data count as missing; 3600 without it.",
        ),
        Field::text(
            "hours",
            "The hours of a day that it holds in, such as 17:00-21:30.",
        )
        .format(Format::Hours),
        Field::text("time_zone", "By which clock; UTC without it.").format(Format::TimeZone),
        Field::one_of(
            "severity",
            SEVERITIES,
            "How bad a violation is; without it the matrix says.",
        ),
        Field::one_of("order", ORDER_ACTIONS, "What a violation leads to."),
        Field::number(
            "cap_kw",
            Unit::Kilowatts,
            0.0,
            1e7,
            "The most power of a cap.",
        ),
        Field::time(
            "valid_from",
            "From when on samples count; from when it was registered or changed without it.",
        ),
        Field::time(
            "valid_to",
            "Until when samples count; without end without it.",
        ),
        Field::text(
            "basis",
            "The law, licence or contract that it follows from.",
        ),
        Field::one_of(
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
    ],
};
