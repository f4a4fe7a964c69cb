//! End to end: the whole system as its users run it, and the house itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agreement;
mod bans;
mod bitcoin_node;
mod config;
mod demo;
mod docs;
mod doctor;
mod failures;
mod full_disk;
mod kill;
mod kill_payments;
mod kill_pool;
mod mine;
mod monerod;
mod money;
mod payments;
mod payouts;
mod promises;
mod roles;
mod s3;
mod sendmany;
mod server;
mod stratum_load;
mod tidy;
mod wallets;
