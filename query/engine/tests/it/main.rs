//! Tests of the query engine behind its front: the answers, their limits, and that they are exact
//! wherever rows happen to lie.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
#[allow(dead_code)]
#[path = "../../../front/tests/it/account_store.rs"]
mod account_store;
mod anomalies;
#[path = "../../../../pipelines/tests/it/cases.rs"]
mod cases;
mod client_queries;
mod completeness;
mod described;
mod dictionary;
mod energy;
mod exact;
mod formats;
mod limits;
mod live;
mod live_own;
mod live_query;
mod live_sockets;
mod matrix;
mod other_pools;
mod output_limits;
mod own_rows;
mod past;
mod payments;
mod payouts;
mod pg_catalog;
mod pool_charts;
mod probes;
mod read_only;
mod rest;
mod rollups;
mod scripted;
mod server;
mod small_files;
mod tail;
mod text_grouping;
mod user_tables;
