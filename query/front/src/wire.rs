//! The wires beside HTTP by which programs reach the same statements.

pub mod postgres;
