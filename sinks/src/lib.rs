//! How a batch becomes a committed table version, and how tables are kept small, fast and whole.
//!
//! The only crate that knows Delta. It does not know where rows come from: a batch is a closed
//! range of sequences, and the offset of the last one is committed in the same table version as the
//! rows.

pub mod delta;
pub mod error;
pub mod maintenance;
pub mod photo_store;
pub mod wallet;

pub use delta::data_file::DataFile;
pub use delta::lake::{Lake, TableLocation};
pub use delta::retry::HeldBatch;
pub use delta::row_group::{BATCH_ROWS, RowGroup, TextBounds, row_groups};
pub use delta::scan::SnapshotTable;
pub use delta::snapshot::{Snapshot, SnapshotReader};
pub use delta::state_store::StateStore;
pub use delta::stream_binding::StreamBinding;
pub use delta::writer::{SeqRange, TableWriter};
pub use error::SinkError;
pub use photo_store::PhotoStore;
pub use wallet::{Wallet, WalletConfig, WalletError};
