//! How a batch becomes a committed table version, and how tables are kept small, fast and whole.
//!
//! The only room that knows Delta. It does not know where rows come from: a batch is a closed range
//! of sequences, and the offset of the last one is committed in the same table version as the rows.

pub mod action;
pub mod checksum;
pub mod data_file;
pub mod durable;
pub mod error;
pub mod lake;
pub mod log;
pub mod maintenance;
pub mod retry;
pub mod row_group;
pub mod scan;
pub mod snapshot;
pub mod state_store;
pub mod wallet;
pub mod writer;

pub use data_file::DataFile;
pub use error::SinkError;
pub use lake::{Lake, TableLocation};
pub use retry::Held;
pub use row_group::{RowGroup, TextBounds, row_groups};
pub use scan::SnapshotTable;
pub use snapshot::{Snapshot, SnapshotReader};
pub use wallet::{Wallet, WalletConfig, WalletError};
pub use writer::{Binding, Range, TableWriter};
