//! Delta tables: the transaction log, the data files, and the exactly-once writer and readers over
//! them.

pub mod action;
pub mod apps;
pub(crate) mod blocking;
pub mod checksum;
pub mod data_file;
pub mod durable_store;
pub mod lake;
pub mod log;
pub mod retry;
pub mod row_group;
pub mod scan;
pub mod snapshot;
pub mod state_store;
pub mod stream_binding;
pub(crate) mod table_check;
pub mod writer;
