//! `machines`: what hashes, with what its maker rates it at.

use crate::column::Unit;
use crate::resource::{Field, Resource};

/// What a machine can be.
pub const STATUSES: &[&str] = &["planned", "active", "maintenance", "retired"];

/// The kind.
pub const MACHINES: Resource = Resource {
    name: "machines",
    singular: "machine",
    path: "/api/v1/machines",
    item_path: "/api/v1/machines/{id}",
    doc: "What hashes, with what its maker rates it at.",
    fields: &[
        Field::reference(11, "site", "sites", "Where it stands.").required(),
        Field::reference(12, "pool", "pools", "The pool that it mines at."),
        Field::reference(13, "operator", "operators", "Whose it is."),
        Field::reference(14, "meter", "meters", "What measures it."),
        Field::text(15, "manufacturer", "Who made it."),
        Field::text(16, "model", "Its model.").required(),
        Field::text(17, "serial_number", "The number on its plate.")
            .required()
            .unique(),
        Field::text(18, "mac_address", "The address of its network interface.").unique(),
        Field::text(19, "firmware", "What runs on it."),
        Field::text(20, "algorithm", "What it hashes, such as sha256d or rx/0."),
        Field::number(
            21,
            "rated_hashrate_hs",
            Unit::HashesPerSecond,
            0.0,
            1e18,
            "Hashrate as rated.",
        ),
        Field::number(
            22,
            "rated_power_w",
            Unit::Watts,
            0.0,
            1e6,
            "Power as rated.",
        ),
        Field::number(
            23,
            "standby_power_w",
            Unit::Watts,
            0.0,
            1e5,
            "Power while it does not hash.",
        ),
        Field::text(24, "rack", "The rack that it stands in."),
        Field::text(25, "slot", "Its place in the rack."),
        Field::time(26, "commissioned_at", "When it began to hash here."),
        Field::one_of(27, "status", STATUSES, "What it is."),
    ],
    rules: &[],
};
