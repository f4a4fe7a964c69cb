//! The controller of a mining site: it turns a utility's signal, the air and the meters into
//! commands for machines and fans, proves what was done by metering, and reports it.
//!
//! `control` decides, as a pure function of policy, state, observation and time. Around it stand
//! what reads signals (`signal`), what carries commands out (`actuate`) and what tells people
//! (`notify`). Nothing here knows DataFusion or Delta, so that the controller builds and runs on a
//! small machine at the site, and goes on when network, NATS or disk are gone.

pub mod actuate;
pub mod command;
pub mod control;
pub mod moment;
pub mod notice;
pub mod notify;
pub mod request;
pub mod signal;
