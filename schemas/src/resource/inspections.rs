//! `inspections`: visits of a regulator or an auditor, what they found, and when the next is due.

use crate::column::Unit;
use crate::photo::{DIGEST_LETTERS, MAX_PHOTOS};
use crate::resource::{Field, Format, Resource, Rule};

/// Why somebody comes.
pub const TYPES: &[&str] = &["routine", "follow_up", "complaint", "unannounced"];
/// How far an inspection has come.
pub const STATUSES: &[&str] = &["planned", "in_progress", "done", "cancelled"];

/// The field of its photos.
pub const PHOTOS: &str = "photos";
/// Digests of photos with a space behind each; the one more is named as one too many.
const MAX_PHOTOS_BYTES: usize = (MAX_PHOTOS + 1) * (DIGEST_LETTERS + 1);

/// The kind.
pub const INSPECTIONS: Resource = Resource {
    name: "inspections",
    singular: "inspection",
    path: "/api/v1/inspections",
    item_path: "/api/v1/inspections/{id}",
    doc: "Visits of a regulator or an auditor, and what they found.",
    fields: &[
        Field::reference(11, "site", "sites", "The site that is inspected."),
        Field::reference(12, "pool", "pools", "The pool that is inspected."),
        Field::one_of(13, "type", TYPES, "Why somebody comes.").required(),
        Field::one_of(14, "status", STATUSES, "How far it has come.").required(),
        Field::text(15, "inspector", "Who inspects."),
        Field::time(16, "planned_at", "When it is planned.").required(),
        Field::time(17, "started_at", "When it began."),
        Field::time(18, "ended_at", "When it ended."),
        Field::long_text(19, "findings", 4_096, "What was found, in words."),
        Field::long_text(
            20,
            "evidence",
            2_048,
            "SHA-256 of papers and of photos that are kept elsewhere, separated by spaces.",
        ),
        Field::number(
            21,
            "score_pct",
            Unit::Percent,
            0.0,
            100.0,
            "How well it was passed.",
        ),
        Field::time(22, "next_due_at", "When the next one is due."),
        Field::long_text(
            23,
            PHOTOS,
            MAX_PHOTOS_BYTES,
            "SHA-256 of photos that were uploaded, separated by spaces; at most 20.",
        )
        .format(Format::Photos),
    ],
    rules: &[
        Rule::AtLeastOne(&["site", "pool"]),
        Rule::Before("started_at", "ended_at"),
    ],
};
