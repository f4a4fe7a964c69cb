//! Pipelines between a real nats-server and a store that has faults, and their arithmetic between
//! nothing at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod allocations;
mod anomalies;
mod anomaly;
mod audit;
mod cases;
mod conformance;
mod evidence;
#[path = "../../../sinks/tests/it/failing_store.rs"]
mod failing_store;
mod faulty_store;
mod fixture;
mod partials;
mod payment;
mod payout;
mod payouts;
mod upgrade;
mod user_pipeline;
mod violations;
mod window_scan;
