//! Defence: what keeps a few from spoiling the pool for all, and what keeps that from hitting the
//! innocent.
//!
//! The rules are pure and each in its file: who may hold how many connections ([`limits`]), whose
//! conduct is bad ([`conduct`]), who is banned until when ([`bans`]), how many names there may be
//! ([`names`]). [`guard`] holds them for the server and [`visit`] is one connection's way through
//! them. Who is verified first is decided by [`crate::randomx::fair_queue`].

pub mod addresses;
pub mod bans;
pub mod bucket;
pub mod conduct;
pub mod descriptors;
pub(crate) mod guard;
pub mod keeper;
pub mod ledger;
pub mod limits;
pub mod names;
pub mod privacy;
pub mod recent;
pub mod refusal;
pub mod settings;
pub(crate) mod visit;
