//! The controller of a mining site: it turns a utility's signal, the air and the meters into
//! commands for machines and fans, proves what was done by metering, and reports it.
//!
//! `control` decides, as a pure function of policy, state, observation and time. Around it stand
//! what reads signals (`signal`), what carries commands out (`actuate`) and what tells people
//! (`notify`). Nothing here knows DataFusion or Delta, so that the controller builds and runs on a
//! small machine at the site, and goes on when network, NATS or disk are gone.

pub mod actuate;
pub mod clock;
pub mod command;
pub mod command_line;
pub mod command_log;
pub mod config;
pub mod control;
pub mod controller;
pub mod entry;
pub mod episode;
pub mod event_list;
pub mod facts;
pub mod forward;
pub mod history;
pub mod inbox;
pub mod journal;
pub mod legacy_config;
pub mod moment;
pub mod notice;
pub mod notify;
pub mod observe;
pub mod plant;
pub mod policy_file;
pub mod policy_trial;
pub mod random;
pub mod recording;
pub mod report;
pub mod request;
pub mod rest;
pub mod safe_state;
pub mod score;
pub mod service;
mod shown_text;
pub mod signal;
pub mod simulated_site;
pub mod start;
pub mod status;
pub mod verify;
pub mod versions;
pub mod watchdog;
pub mod what_if;
