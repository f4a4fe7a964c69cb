//! The ingest crate against a real `nats-server`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod corpus;
mod decode;
mod exclusive;
mod fixture;
mod http;
mod http_bodies;
mod logs;
mod publish;
mod read;
mod registry;
mod resources;
mod sequenced;
mod server;
mod sources;
mod subscriber;
mod tail;
