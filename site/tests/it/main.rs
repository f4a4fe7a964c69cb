//! Integration tests of the site controller: one binary, a module a subject.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod actuate;
mod end_to_end;
mod failsafes;
mod fans;
mod fixture;
mod foreman;
mod kill;
mod notify;
mod openadr;
mod orders;
mod page;
mod properties;
mod replay;
mod restarts;
mod run;
mod service;
mod signal;
mod snmp;
mod thousand_events;
mod trips;
