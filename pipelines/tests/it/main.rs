//! Pipelines between a real nats-server and a store that has moods, and their arithmetic between
//! nothing at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod conformance;
mod fixture;
mod moods;
mod partials;
mod payment;
mod payout;
mod payouts;
mod search;
mod store;
mod upgrade;
