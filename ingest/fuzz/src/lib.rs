//! What is fuzzed: one function a target, which takes any bytes and panics when a promise is
//! broken.
//!
//! The fuzzer calls them with what it invents, and the crate's tests with every file of `corpus/`,
//! so that what was found once stays found. One more target is a file here, a line in [`ALL`], an
//! entry in `src/bin` and a folder of seeds.

pub mod mqtt_packets;
pub mod snmp_messages;
pub mod source_bodies;

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("mqtt_packets", mqtt_packets::run),
    ("snmp_messages", snmp_messages::run),
    ("source_bodies", source_bodies::run),
];
