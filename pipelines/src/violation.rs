//! Violations: what rules watch, from when on a value is a violation, what may happen to one, how
//! bad it is, and what an operator's or a pool's score follows from. Nothing here reads a clock or
//! talks to a server.

pub mod evaluation;
pub mod lifecycle;
pub mod metric;
pub mod newest;
pub mod order;
pub mod rule;
pub mod score;
pub mod severity;
pub mod state;
