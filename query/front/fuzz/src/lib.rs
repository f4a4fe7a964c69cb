//! What is fuzzed: one function a target, which takes any bytes and panics when a promise is
//! broken.
//!
//! The fuzzer calls them with what it invents, and the crate's tests with every file of `corpus/`,
//! so that what was found once stays found. One more target is a file here, a line in [`ALL`], an
//! entry in `src/bin` and a folder of seeds.

#[path = "../../tests/it/engine.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod engine;
pub mod flight_calls;
mod front;
pub mod live_requests;
pub mod postgres_messages;
pub mod postgres_sessions;
pub mod route_queries;

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("flight_calls", flight_calls::run),
    ("live_requests", live_requests::run),
    ("postgres_messages", postgres_messages::run),
    ("postgres_sessions", postgres_sessions::run),
    ("route_queries", route_queries::run),
];
