//! `operators`: who runs pools and sites, and under which licence.

use crate::resource::{Field, Format, Resource, Rule};

/// What an operator's licence can be.
pub const STATUSES: &[&str] = &["applied", "active", "suspended", "revoked", "expired"];

/// The kind.
pub const OPERATORS: Resource = Resource {
    name: "operators",
    singular: "operator",
    path: "/api/v1/operators",
    item_path: "/api/v1/operators/{id}",
    doc: "Who runs pools and sites, and under which licence.",
    fields: &[
        Field::text(11, "name", "The name it is known by.").required(),
        Field::text(12, "legal_name", "The name in the register of companies."),
        Field::text(13, "registration_number", "Its number in that register.").unique(),
        Field::text(14, "country", "Where it is registered.").format(Format::Country),
        Field::text(15, "address", "Its address."),
        Field::text(16, "email", "Where it is written to."),
        Field::text(17, "phone", "Where it is called."),
        Field::text(18, "licence_number", "The number of its licence.").unique(),
        Field::time(19, "licence_valid_from", "When the licence begins."),
        Field::time(20, "licence_valid_to", "When the licence ends."),
        Field::one_of(21, "status", STATUSES, "What its licence is."),
    ],
    rules: &[Rule::Before("licence_valid_from", "licence_valid_to")],
};
