//! `meters`: what measures electricity, with what a reading must be multiplied by.

use crate::column::Unit;
use crate::resource::{Field, Resource, Rule};

/// Classes of accuracy of IEC 62053 and EN 50470.
pub const CLASSES: &[&str] = &["0.1S", "0.2S", "0.5S", "0.5", "1", "2", "3", "A", "B", "C"];
/// What a meter can measure.
pub const MEASURES: &[&str] = &["site", "pool", "machine", "auxiliary"];

/// The kind.
pub const METERS: Resource = Resource {
    name: "meters",
    singular: "meter",
    path: "/api/v1/meters",
    item_path: "/api/v1/meters/{id}",
    doc: "What measures electricity.",
    fields: &[
        Field::text(11, "serial_number", "The number on its plate.")
            .required()
            .unique(),
        Field::reference(12, "site", "sites", "Where it is mounted.").required(),
        Field::reference(
            13,
            "pool",
            "pools",
            "The pool that it measures, if one alone.",
        ),
        Field::one_of(14, "measures", MEASURES, "What it measures.").required(),
        Field::text(15, "manufacturer", "Who made it."),
        Field::text(16, "model", "Its model."),
        Field::number(
            17,
            "ct_ratio",
            Unit::None,
            0.001,
            1e6,
            "What a reading is multiplied by: primary over secondary current of its transformers.",
        ),
        Field::one_of(18, "accuracy_class", CLASSES, "Its class of accuracy."),
        Field::count(19, "phases", 1, 3, "Phases that it measures."),
        Field::time(20, "installed_at", "When it was mounted."),
        Field::time(21, "calibrated_at", "When it was calibrated."),
        Field::time(
            22,
            "calibration_due_at",
            "When it is to be calibrated again.",
        ),
    ],
    rules: &[Rule::Before("calibrated_at", "calibration_due_at")],
};
