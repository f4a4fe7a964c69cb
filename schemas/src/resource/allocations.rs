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
        Field::reference("pool", "pools", "The pool that it is for."),
        Field::reference("site", "sites", "The site that it is for."),
        Field::reference("operator", "operators", "The operator that it is for."),
        Field::number("power_kw", Unit::Kilowatts, 0.0, 1e7, "The most power."),
        Field::number(
            "energy_kwh",
            Unit::KilowattHours,
            0.0,
            1e11,
            "The most energy in a period.",
        ),
        Field::one_of("period", PERIODS, "The period of energy_kwh.").required(),
        Field::time("valid_from", "When it begins.").required(),
        Field::time("valid_to", "When it ends; open without one."),
        Field::text("permit", "The decision or contract that it follows from."),
    ],
    rules: &[
        Rule::ExactlyOne(&["pool", "site", "operator"]),
        Rule::AtLeastOne(&["power_kw", "energy_kwh"]),
        Rule::Before("valid_from", "valid_to"),
    ],
};
