//! The pages of a site's controller: what it does about power and heat, and why.
//!
//! The controller serves them by itself, beside the routes that they ask.

use crate::console::Console;

mod debug;
mod decisions;
mod events;
mod machines;
mod overview;
mod sign_in;

/// The controller's.
pub static SITE: Console = Console {
    name: "Headframe site",
    about: "Headframe: the controller of a mining site.",
    start: "/site",
    numbers: "/api/v1/site",
    api: "/api/v1/site",
    pages: &[
        &overview::Overview,
        &machines::Machines,
        &decisions::Decisions,
        &events::Events,
        &debug::Debug,
        &sign_in::SignIn,
    ],
};
