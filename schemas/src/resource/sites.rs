//! `sites`: the places where machines stand.

use crate::column::Unit;
use crate::resource::{Field, Format, Resource};

/// What a site can be.
pub const STATUSES: &[&str] = &["planned", "active", "suspended", "closed"];

/// The kind.
pub const SITES: Resource = Resource {
    name: "sites",
    singular: "site",
    path: "/api/v1/sites",
    item_path: "/api/v1/sites/{id}",
    doc: "The places where machines stand.",
    fields: &[
        Field::text("name", "The name people use.").required(),
        Field::reference("operator", "operators", "Who runs it."),
        Field::text("location", "The address, or how to get there.").required(),
        Field::text("country", "The country that it lies in.").format(Format::Country),
        Field::number(
            "latitude_deg",
            Unit::Degrees,
            -90.0,
            90.0,
            "North of the equator.",
        ),
        Field::number(
            "longitude_deg",
            Unit::Degrees,
            -180.0,
            180.0,
            "East of Greenwich.",
        ),
        Field::text(
            "time_zone",
            "The zone that its days and hours are counted in, such as Europe/Oslo.",
        )
        .required()
        .format(Format::TimeZone),
        Field::number(
            "connection_kw",
            Unit::Kilowatts,
            0.0,
            1e7,
            "What its connection to the grid carries.",
        ),
        Field::text("supplier", "Who sells it electricity."),
        Field::one_of("status", STATUSES, "What it is."),
    ],
    rules: &[],
};
