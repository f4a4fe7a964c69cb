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
        Field::text("name", "The name it is known by.").required(),
        Field::text("legal_name", "The name in the register of companies."),
        Field::text("registration_number", "Its number in that register.").unique(),
        Field::text("country", "Where it is registered.").format(Format::Country),
        Field::text("address", "Its address."),
        Field::text("email", "Where it is written to."),
        Field::text("phone", "Where it is called."),
        Field::text("licence_number", "The number of its licence.").unique(),
        Field::time("licence_valid_from", "When the licence begins."),
        Field::time("licence_valid_to", "When the licence ends."),
        Field::one_of("status", STATUSES, "What its licence is."),
    ],
    rules: &[Rule::Before("licence_valid_from", "licence_valid_to")],
};
