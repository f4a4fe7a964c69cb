//! The tests of the coopmine crate: the pure cluster under a seeded simulation, the upstream's
//! client against pools that misbehave, and the coordinator with its workers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod big_pool;
mod certificates;
mod client;
mod coordinator;
mod curtail;
mod dashboard;
mod election;
mod facts;
mod few_nonces;
mod hash_rate;
mod judge;
mod membership;
mod own_pool;
mod pauses;
mod simulation;
mod stand_in;
mod standalone;
mod standby;
mod stops;
mod xmrig;
