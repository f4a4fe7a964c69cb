//! End to end: the whole system as its users run it, and the house itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agreement;
mod kill;
mod server;
mod tidy;
