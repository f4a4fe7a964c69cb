//! The defence's pure rules: limits, reputation, bans, names and addresses, without a socket or a
//! clock.

mod bans;
mod limits;
mod reputation;
mod small;
