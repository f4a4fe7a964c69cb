//! The wires beside HTTP by which programs reach the same statements.

pub(crate) mod flight;
pub mod postgres;
