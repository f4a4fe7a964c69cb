//! The tests of the stratum room: pure rules against vectors and oracles, the server against captured lines, and the whole
//! against a real monerod.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod address;
mod blob;
mod difficulty;
mod facts;
mod jetstream;
mod million;
mod protocol;
mod randomx;
mod regtest;
mod scripted;
mod server;
mod simulated;
mod vardiff;
