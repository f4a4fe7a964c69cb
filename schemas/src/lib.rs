//! The contracts of Headframe: what a stream, a row, a table and a rollup look like, with units.
//!
//! Nothing here reads a clock, opens a file or talks to a server. Every other crate knows this one
//! and this one knows none. Adding a stream is one file in `stream/`, adding a rollup one file in
//! `rollup/`, each with one line in its `ALL`.

pub mod account;
pub mod arrow_stream;
pub mod codec;
pub mod column;
pub mod hours;
pub mod message;
pub mod payment;
pub mod period;
pub mod photo;
pub mod resource;
pub mod rollup;
pub mod sql_view;
pub mod stream;
pub mod table;
pub mod user_table;
pub mod validate;
pub mod violation;

pub use column::{Column, Kind, Unit};
pub use resource::Resource;
pub use rollup::{Measure, Merge, Rollup, Tier};
pub use sql_view::SqlView;
pub use stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};
pub use table::Table;
pub use user_table::UserTable;
