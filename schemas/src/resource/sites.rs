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
        Field::text(11, "name", "The name people use.").required(),
        Field::reference(12, "operator", "operators", "Who runs it."),
        Field::text(13, "location", "The address, or how to get there.").required(),
        Field::text(14, "country", "The country that it lies in.").format(Format::Country),
        Field::number(
            15,
            "latitude_deg",
            Unit::Degrees,
            -90.0,
            90.0,
            "North of the equator.",
        ),
        Field::number(
            16,
            "longitude_deg",
            Unit::Degrees,
            -180.0,
            180.0,
            "East of Greenwich.",
        ),
        Field::text(
            17,
            "time_zone",
            "The zone that its days and hours are counted in, such as Europe/Oslo.",
        )
        .required()
        .format(Format::TimeZone),
        Field::number(
            18,
            "connection_kw",
            Unit::Kilowatts,
            0.0,
            1e7,
            "What its connection to the grid carries.",
        ),
        Field::text(19, "supplier", "Who sells it electricity."),
        Field::one_of(20, "status", STATUSES, "What it is."),
        Field::text(
            21,
            "controller",
            "Where the pages of its controller are, such as http://10.0.0.5:5000; the console \
             links to them and asks nothing there.",
        )
        .format(Format::HttpUrl),
    ],
    rules: &[],
};
