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
        Field::reference("site", "sites", "Where it stands.").required(),
        Field::reference("pool", "pools", "The pool that it mines at."),
        Field::reference("operator", "operators", "Whose it is."),
        Field::reference("meter", "meters", "What measures it."),
        Field::text("manufacturer", "Who made it."),
        Field::text("model", "Its model.").required(),
        Field::text("serial_number", "The number on its plate.")
            .required()
            .unique(),
        Field::text("mac_address", "The address of its network interface.").unique(),
        Field::text("firmware", "What runs on it."),
        Field::text("algorithm", "What it hashes, such as sha256d or rx/0."),
        Field::number(
            "rated_hashrate_hs",
            Unit::HashesPerSecond,
            0.0,
            1e18,
            "Hashrate as rated.",
        ),
        Field::number("rated_power_w", Unit::Watts, 0.0, 1e6, "Power as rated."),
        Field::number(
            "standby_power_w",
            Unit::Watts,
            0.0,
            1e5,
            "Power while it does not hash.",
        ),
        Field::text("rack", "The rack that it stands in."),
        Field::text("slot", "Its place in the rack."),
        Field::time("commissioned_at", "When it began to hash here."),
        Field::one_of("status", STATUSES, "What it is."),
    ],
    rules: &[],
};
