//! Tests of the front: who may ask, what every answer has, and what a connection may cost. No
//! engine runs behind it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod connections;
mod documents;
mod errors;
mod server;
mod signatures;
mod slots;
