//! `pools`: mining pools as a regulator registers them, with the energy they may draw.

use crate::column::Unit;
use crate::resource::{Field, Resource};

/// What a pool can be.
pub const STATUSES: &[&str] = &["applied", "active", "suspended", "closed"];
/// The periods that energy is limited in.
pub const PERIODS: &[&str] = &["day", "week", "month", "year"];

/// The kind.
pub const POOLS: Resource = Resource {
    name: "pools",
    singular: "pool",
    path: "/api/v1/pools",
    item_path: "/api/v1/pools/{id}",
    doc: "Mining pools as they are registered, with the energy that they may draw.",
    fields: &[
        Field::text(11, "name", "The name people use.").required(),
        Field::reference(12, "operator", "operators", "Who runs it.").required(),
        Field::text(13, "location", "Where it is.").required(),
        Field::reference(
            14,
            "site",
            "sites",
            "Where its machines stand, if at one site.",
        ),
        Field::number(
            15,
            "power_limit_kw",
            Unit::Kilowatts,
            0.0,
            1e7,
            "The most power it may draw.",
        )
        .required(),
        Field::number(
            16,
            "energy_limit_kwh",
            Unit::KilowattHours,
            0.0,
            1e11,
            "The most energy it may draw in a period.",
        )
        .required(),
        Field::one_of(
            17,
            "energy_period",
            PERIODS,
            "The period of energy_limit_kwh.",
        )
        .required(),
        Field::text(18, "algorithm", "What is hashed, such as sha256d or rx/0."),
        Field::text(19, "accreditation", "The number of its accreditation.").unique(),
        Field::one_of(20, "status", STATUSES, "What it is."),
    ],
    rules: &[],
};
