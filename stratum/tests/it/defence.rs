//! The defence's pure rules: limits, conduct, bans, names and addresses, without a socket or a
//! clock.

mod bans;
mod limits;
mod reputation;
mod small;
