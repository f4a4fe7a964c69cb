//! The wires beside HTTP by which programs reach the same statements.

mod call_body;
mod field_status;
pub(crate) mod flight;
pub mod postgres;
pub(crate) mod registry_grpc;
