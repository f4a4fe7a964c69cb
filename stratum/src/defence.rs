//! Defence: what keeps a few from spoiling the pool for all, and what keeps that from hitting the
//! innocent.
//!
//! The rules are pure and each in its file: who may hold how many connections ([`limits`]), whose
//! reputation is bad ([`reputation`]), who is banned until when ([`bans`]), how many names there may be
//! ([`worker_names`]). [`guard`] holds them for the server and [`admission`] is one connection's way through
//! them. Who is verified first is decided by [`crate::randomx::fair_queue`].

pub mod addresses;
pub(crate) mod admission;
pub mod ban_file;
pub mod ban_store;
pub mod bans;
pub mod config;
pub mod descriptors;
pub(crate) mod guard;
pub mod limits;
pub mod privacy;
pub mod refusal;
pub mod reputation;
pub mod worker_names;
