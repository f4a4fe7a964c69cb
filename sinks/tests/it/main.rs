//! The crate's integration tests: tables on a real folder, with a store that fails on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bitcoin_wallet;
mod failing_store;
mod fixture;
mod held_batch;
mod maintenance;
mod monero_wallet;
mod request_count;
mod row_group;
mod schema;
mod state;
mod writer;
