//! The pages of a coordinator of CoopMine: many machines, one miner.
//!
//! The coordinator serves them by itself, beside the routes that they ask.

use crate::console::Console;

mod cluster;
mod jobs;
mod shares;
mod sign_in;
mod workers;

/// The coordinator's.
pub static COOPMINE: Console = Console {
    name: "CoopMine",
    about: "CoopMine: many machines that mine as one.",
    start: "/cluster",
    numbers: "/api/stats",
    api: "/api/stats",
    pages: &[
        &cluster::Cluster,
        &workers::Workers,
        &shares::Shares,
        &jobs::Jobs,
        &sign_in::SignIn,
    ],
};
