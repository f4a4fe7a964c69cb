//! `allocations`: how much power and energy somebody may draw, and from when to when.

use crate::column::Unit;
use crate::resource::pools::PERIODS;
use crate::resource::{Field, Resource, Rule};

/// The kind.
pub const ALLOCATIONS: Resource = Resource {
    name: "allocations",
    singular: "allocation",
    path: "/api/v1/allocations",
    item_path: "/api/v1/allocations/{id}",
    doc: "How much power and energy a pool, a site or an operator may draw, and from when to when.",
    fields: &[
        Field::reference(11, "pool", "pools", "The pool that it is for."),
        Field::reference(12, "site", "sites", "The site that it is for."),
        Field::reference(13, "operator", "operators", "The operator that it is for."),
        Field::number(14, "power_kw", Unit::Kilowatts, 0.0, 1e7, "The most power."),
        Field::number(
            15,
            "energy_kwh",
            Unit::KilowattHours,
            0.0,
            1e11,
            "The most energy in a period.",
        ),
        Field::one_of(16, "period", PERIODS, "The period of energy_kwh.").required(),
        Field::time(17, "valid_from", "When it begins.").required(),
        Field::time(18, "valid_to", "When it ends; open without one."),
        Field::text(
            19,
            "permit",
            "The decision or contract that it follows from.",
        ),
    ],
    rules: &[
        Rule::ExactlyOne(&["pool", "site", "operator"]),
        Rule::AtLeastOne(&["power_kw", "energy_kwh"]),
        Rule::Before("valid_from", "valid_to"),
    ],
};
