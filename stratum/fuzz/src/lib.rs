//! What is fuzzed: one function a target, which takes any bytes and panics when a promise is
//! broken.
//!
//! The fuzzer calls them with what it invents, and the crate's tests with every file of `corpus/`,
//! so that what was found once stays found. One more target is a file here, a line in [`ALL`], an
//! entry in `src/bin` and a folder of seeds.

pub mod bitcoin_template;
pub mod commands;
pub mod lines;
pub mod monero_template;
pub mod proxy_header;

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("bitcoin_template", bitcoin_template::run),
    ("commands", commands::run),
    ("lines", lines::run),
    ("monero_template", monero_template::run),
    ("proxy_header", proxy_header::run),
];
