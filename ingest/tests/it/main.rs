//! The ingest room against a real `nats-server`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod chronicle;
mod decode;
mod door;
mod door_bodies;
mod fixture;
mod numbered;
mod publish;
mod read;
mod server;
mod tail;
