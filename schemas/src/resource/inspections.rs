//! `inspections`: visits of a regulator or an auditor, what they found, and when the next is due.

use crate::column::Unit;
use crate::resource::{Field, Resource, Rule};

/// Why somebody comes.
pub const TYPES: &[&str] = &["routine", "follow_up", "complaint", "unannounced"];
/// How far an inspection has come.
pub const STATUSES: &[&str] = &["planned", "in_progress", "done", "cancelled"];

/// The kind.
pub const INSPECTIONS: Resource = Resource {
    name: "inspections",
    singular: "inspection",
    path: "/api/v1/inspections",
    item_path: "/api/v1/inspections/{id}",
    doc: "Visits of a regulator or an auditor, and what they found.",
    fields: &[
        Field::reference("site", "sites", "The site that is inspected."),
        Field::reference("pool", "pools", "The pool that is inspected."),
        Field::one_of("type", TYPES, "Why somebody comes.").required(),
        Field::one_of("status", STATUSES, "How far it has come.").required(),
        Field::text("inspector", "Who inspects."),
        Field::time("planned_at", "When it is planned.").required(),
        Field::time("started_at", "When it began."),
        Field::time("ended_at", "When it ended."),
        Field::long_text("findings", 4_096, "What was found, in words."),
        Field::long_text(
            "evidence",
            2_048,
            "SHA-256 of photos and papers, separated by spaces.",
        ),
        Field::number(
            "score_pct",
            Unit::Percent,
            0.0,
            100.0,
            "How well it was passed.",
        ),
        Field::time("next_due_at", "When the next one is due."),
    ],
    rules: &[
        Rule::AtLeastOne(&["site", "pool"]),
        Rule::Before("started_at", "ended_at"),
    ],
};
